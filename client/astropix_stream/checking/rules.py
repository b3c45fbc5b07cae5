"""A configuration file's text and the command's options to a checked model, or every mistake in them at once.

Pure: no file is opened and no socket touched. `Rules` says what one daemon's configuration holds; the rest is
the same for all.
"""

import contextlib
import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from astropix_stream.checking.marks import KeyPath, parse
from astropix_stream.checking.mistakes import Report, describe
from astropix_stream.checking.quantities import show

M = TypeVar("M", bound=BaseModel)
Finding = tuple[list[KeyPath], str]
"""What is wrong between keys: the paths that have part in it, and what."""


@dataclass(frozen=True)
class Rules(Generic[M]):
    """What a daemon's configuration holds.

    Attributes
    ----------
    model
        The configuration as a whole.
    sections
        The models of the keys that hold others, by name; those of a list's items too.
    flags
        The section and key that each command-line option sets; a key at the top has the section ''. The
        section `list_section` is a list, of which an option means the only item.
    contradictions
        Yields what is wrong between keys that are each right.
    list_section
        The section that is a list of mappings; '' for none.
    whole
        Sections with a key that has no default: broken, they go as a whole.
    """

    model: type[M]
    sections: Mapping[str, type[BaseModel]]
    flags: Mapping[str, tuple[str, str]]
    contradictions: Callable[[M], Iterable[Finding]]
    list_section: str = ""
    whole: Collection[str] = ()

    def load(self, text: str, *, file: str = "<config>", overrides: Mapping[str, object] | None = None) -> M:
        """Check a configuration file's text as a whole.

        Parameters
        ----------
        text
            YAML; an empty text gives the defaults.
        file
            Its name, for the messages.
        overrides
            Values of command-line options, by the names in `flags`; they win over the file. None: not given.

        Raises
        ------
        ConfigMistakes
            A `ConfigError` with all mistakes at once, each with its line and column.
        """
        document = parse(text)
        report = Report(file, document)
        tree = {} if document.value is None else document.value
        if not isinstance(tree, dict):
            report.add([()], f"{show(tree)} is not a mapping of keys to values")
            tree = {}
        self._override(tree, overrides or {}, report)
        config, broken = self._validate(tree, report)
        for paths, message in self.contradictions(config):
            if not any(path[: len(part)] == part for path in paths for part in broken):
                report.add(paths, message)
        report.check()
        return config

    def _override(self, tree: dict[str, Any], overrides: Mapping[str, object], report: Report) -> None:
        """Put the values of options into `tree`, as if they stood in the file."""
        if unknown := overrides.keys() - self.flags.keys():
            names = ", ".join(sorted(unknown))
            raise TypeError(f"no such option: {names}; there are: {', '.join(self.flags)}")
        given = [name for name, value in overrides.items() if value is not None]
        items = tree.get(self.list_section)
        count = len(items) if self.list_section and isinstance(items, list) else 1
        unclear = [name for name in given if self.flags[name][0] == self.list_section and count > 1]
        if unclear:
            what = f"{report.file} has {count} {self.list_section}"
            report.add_option(*unclear, message=f"{what}: change the one meant there")
        for name in given:
            if name not in unclear:
                self._set_option(tree, name, overrides[name], report)

    def _set_option(self, tree: dict[str, Any], name: str, value: object, report: Report) -> None:
        section, key = self.flags[name]
        if not section:
            tree[key] = value
            report.options[(key,)] = name
            return
        of_item = section == self.list_section
        if tree.get(section) is None:
            tree[section] = [{}] if of_item else {}
        with contextlib.suppress(LookupError, TypeError):  # nonsense in the file, which is reported anyway
            (tree[section][0] if of_item else tree[section])[key] = value
            report.options[(section, 0, key) if of_item else (section, key)] = name

    def _validate(self, tree: dict[str, Any], report: Report) -> tuple[M, set[KeyPath]]:
        """Return a configuration with defaults in the place of broken parts, and the paths of those.

        So contradictions among the parts that are right are found in the same pass.
        """
        try:
            return self.model.model_validate(tree), set()
        except ValidationError as error:
            mistakes = error.errors(include_url=False)
        broken = set()
        for details in mistakes:
            path = details["loc"]
            unknown = details["type"] == "extra_forbidden"
            report.add([path], self._unknown_key(path) if unknown else describe(details), at_key=unknown)
            broken.add(_prune(tree, path[:1] if path[0] in self.whole else path))
        return self.model.model_validate(tree), broken

    def _unknown_key(self, path: KeyPath) -> str:
        key, section = str(path[-1]), str(path[0])
        known = _keys(self.model if len(path) == 1 else self.sections[section])
        homes = [home for home, model in self.sections.items() if key in _keys(model)]
        if near := difflib.get_close_matches(key, known, n=1):
            return f"unknown key; did you mean {near[0]!r}?"
        if homes:
            return f"unknown key; it belongs under {' or '.join(map(repr, homes))}"
        return f"unknown key; known are {', '.join(known)}"


def _keys(model: type[BaseModel]) -> list[str]:
    """Return a model's keys as they stand in a file."""
    return [field.alias or name for name, field in model.model_fields.items()]


def changed_keys(old: BaseModel, new: BaseModel, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys that differ between two configurations of one model."""
    for name in type(old).model_fields:
        was, now = getattr(old, name), getattr(new, name)
        if isinstance(was, BaseModel) and isinstance(now, BaseModel):
            yield from changed_keys(was, now, f"{prefix}{name}.")
        elif was != now:
            yield prefix + name


def _prune(tree: Any, path: KeyPath) -> KeyPath:
    """Take the innermost key of `path` out of `tree`; return the path of what is gone."""
    end = max(index for index, step in enumerate(path) if isinstance(step, str))
    with contextlib.suppress(LookupError):  # gone already, with what held it
        for step in path[:end]:
            tree = tree[step]
        del tree[path[end]]
    return path[: end + 1]
