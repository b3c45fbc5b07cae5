"""What is wrong with a configuration, said so that an operator finds and mends it.

Pure. `Report` collects; `ConfigMistakes` is raised with all of it at once.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pydantic_core import ErrorDetails

from astropix_stream.checking.marks import Document, KeyPath, Position
from astropix_stream.checking.quantities import show
from astropix_stream.errors import ConfigError


class Mistake(NamedTuple):
    """One mistake: in a file (lines and columns count from 1), or in an option (line 0, path `--port`)."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: " if self.line else ""
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class ConfigMistakes(ConfigError):
    """Every mistake of a configuration; the text has a line for each."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(map(str, self.mistakes)))


def dotted(path: KeyPath) -> str:
    """Write a path as `streams[0].port`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{_printable(step)}" for step in path)
    return "".join(steps).removeprefix(".")


def _printable(key: str) -> str:
    return key if re.fullmatch(r"[\w-]{1,60}", key, re.ASCII) else show(key)


class Report:
    """Collects mistakes and finds where in the text each of them stands."""

    def __init__(self, file: str, document: Document) -> None:
        self.file, self.document = file, document
        self.options: dict[KeyPath, str] = {}  # what the command line gave, and the option's name
        self.mistakes = [Mistake(file, *p.place, dotted(p.path), p.message) for p in document.problems]

    def add(self, paths: Iterable[KeyPath], message: str, *, at_key: bool = False) -> None:
        """Report a mistake that `paths` have part in, at the first of them that a person wrote."""
        places = self.document.keys if at_key else self.document.values
        paths = [self._of_option(path) for path in paths]
        path = next((path for path in paths if path in self.options or path in places), paths[0])
        if path in self.options:
            self.add_option(self.options[path], message=message)
            return
        place = self._find(path, places)
        # What is no value in YAML is told already; that it has the wrong type besides helps nobody.
        if not any(
            (known.line, known.column, known.path) == (*place, dotted(path)) for known in self.mistakes
        ):
            self.mistakes.append(Mistake(self.file, *place, dotted(path), message))

    def _of_option(self, path: KeyPath) -> KeyPath:
        """Return the path of the option that gave what stands at a path; the path itself if none did."""
        return next((path[:length] for length in range(len(path)) if path[:length] in self.options), path)

    def add_option(self, *names: str, message: str) -> None:
        """Report a mistake in command-line options."""
        self.mistakes.append(Mistake("", 0, 0, ", ".join(f"--{name}" for name in names), message))

    def check(self) -> None:
        """Raise `ConfigMistakes` if there are any, in the order of the text."""
        if self.mistakes:
            raise ConfigMistakes(sorted(self.mistakes, key=lambda mistake: (mistake.line, mistake.column)))

    def _find(self, path: KeyPath, places: Mapping[KeyPath, Position]) -> Position:
        """Return where `path` stands, or what holds it."""
        above = (path[:length] for length in range(len(path), -1, -1))
        return next((places[part] for part in above if part in places), Position(1, 1))


# pydantic's own sentences speak of input and parsing.
_SENTENCES = {
    "missing": "missing; it has no default",
    "greater_than_equal": "{shown} is too small: at least {ge}",
    "less_than_equal": "{shown} is too large: at most {le}",
    "int_type": "{shown} is not a whole number (written without quotes)",
    "string_type": "{shown} is not text (a number needs quotes)",
    "string_unicode": "{shown} is not text",
    "tuple_type": "{shown} is not a list",
    "model_type": "{shown} is not a mapping of keys to values",
    "dict_type": "{shown} is not a mapping of keys to values",
    "bool_type": "{shown} is not true or false",
    "float_type": "{shown} is not a number (written without quotes)",
    "greater_than": "{shown} is too small: it must be more than {gt}",
    "less_than": "{shown} is too large: it must be less than {lt}",
    "literal_error": "{shown} is not one of {expected}",
    "enum": "{shown} is not one of {expected}",
    # Of texts that are read as numbers, from a browser:
    "int_parsing": "{shown} is not a whole number",
    "int_parsing_size": "{shown} is too large",
    "int_from_float": "{shown} is not a whole number",
    "float_parsing": "{shown} is not a number",
    "finite_number": "{shown} is not a finite number",
    "bool_parsing": "{shown} is not true or false",
    "list_type": "{shown} is not a list",
    "too_long": "has {actual_length} items: at most {max_length}",
    "json_invalid": "not JSON: {error}",
    "extra_forbidden": "there is no such setting",
}


def describe(details: ErrorDetails) -> str:
    """Return pydantic's finding in a sentence for an operator."""
    context = details.get("ctx", {})
    if details["type"] == "value_error":
        return str(context["error"])
    sentence = _SENTENCES.get(details["type"])
    shown = show(details["input"])
    return sentence.format(shown=shown, **context) if sentence else f"{shown} cannot stand here"
