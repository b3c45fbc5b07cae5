"""The options that a person wrote, to refuse those that would do nothing."""

import typer

from astropix_stream.errors import ConfigError


class Given:
    """What stands on the command line of one call of a command, whatever the defaults are.

    Parameters
    ----------
    context
        The command's context.
    """

    def __init__(self, context: typer.Context) -> None:
        self._names: dict[str, str] = {}
        for parameter in context.command.params:
            source = context.get_parameter_source(parameter.name or "")
            # By name: typer has its own copy of click's enumeration, or click's, by version.
            if source is not None and source.name == "COMMANDLINE":
                names = [name for name in (*parameter.opts, *parameter.secondary_opts) if name[0] == "-"]
                off = parameter.secondary_opts and context.params.get(parameter.name or "") is False
                written = parameter.secondary_opts[0] if off else max(parameter.opts, key=len)
                self._names |= dict.fromkeys(names, written)

    def __contains__(self, option: str) -> bool:
        """Whether a person wrote this option, such as ``--every``."""
        return option in self._names

    def refuse(self, *options: str, because: str) -> None:
        """Refuse the first of some options that was written.

        Parameters
        ----------
        options
            As they are written: ``--every``.
        because
            Completes '--every …': what it would need, or what to leave out.

        Raises
        ------
        ConfigError
            One of them was written.
        """
        for option in options:
            if option in self._names:
                raise ConfigError(f"{self._names[option]} {because}")
