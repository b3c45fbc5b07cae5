"""What is wrong with the words of a command line, in a sentence of ours. Pure.

Typer checks numbers with pydantic, and passes its sentences on ("Input should be less than or equal to
65535"), which speak of input and parsing. Here they are written as a person reads them.
"""

from typing import Any

_WHOLE = ("int_type", "int_parsing", "int_parsing_size", "int_from_float")
_NUMBER = ("float_type", "float_parsing", "finite_number")


def explain(error: Any) -> str:
    """Return what a usage error of typer's, or of click's, says: 'port must be …', without a full stop.

    Parameters
    ----------
    error
        The exception; of an option that pydantic refused, its cause is pydantic's.
    """
    param = getattr(error, "param", None)
    refused = getattr(error.__cause__, "errors", None)
    if near := getattr(error, "possibilities", None):
        return f"{str(error.message).rstrip('.')}. Did you mean {' or '.join(near)}?"
    if param is None or not error.message:
        return str(error.format_message()).removeprefix("Invalid value: ").rstrip(".") + _usage(error)
    details = refused(include_url=False)[0] if callable(refused) else None
    if details is None:
        return f"{_name(param)}: {str(error.message).rstrip('.')}"
    return f"{_name(param)} {_demand(details['type'], param)}, not {details['input']!r}"


def _usage(error: Any) -> str:
    """Return how the command is written, where it is not clear which of its arguments is missing."""
    context, param = getattr(error, "ctx", None), getattr(error, "param", None)
    if context is None or getattr(param, "param_type_name", "") != "argument":
        return ""
    needed = [one for one in context.command.params if one.param_type_name == "argument" and one.required]
    words = [_name(one) + "..." * (one.nargs != 1) for one in needed]
    return f": write {' '.join([context.command_path, *words])}" if len(words) > 1 else ""


def _name(param: Any) -> str:
    """Return what a person writes: --port, URL."""
    if param.param_type_name == "option":
        return str(max(param.opts, key=len))
    return str(param.metavar or param.name.upper())


def _demand(kind: str, param: Any) -> str:
    low, high = getattr(param, "min", None), getattr(param, "max", None)
    what = "a whole number" if kind in _WHOLE else "a number" if kind in _NUMBER else ""
    if low is not None and high is not None:
        bounds = f"from {low:g} to {high:g}"
    elif low is not None:
        bounds = f"{low:g} or more"
    else:
        bounds = "" if high is None else f"at most {high:g}"
    between = " " if bounds.startswith("from") else ", "
    return "must be " + (between.join(filter(None, (what, bounds))) or "another value")
