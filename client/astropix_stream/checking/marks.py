"""YAML text -> plain values, and the line and column of each of them.

Pure. `yaml.safe_load` forgets where a value stood and lets the second of two equal keys win; here both are
told. Plain scalars are read as YAML 1.2 does: in pyyaml's YAML 1.1 the port 010 is 8, 1:30 is 90 and the
name `on` is True, which an operator finds out late.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml

# A configuration has three levels. Without a limit a file of brackets would end in a RecursionError.
MAX_DEPTH = 16

KeyPath = tuple[str | int, ...]


class Position(NamedTuple):
    """A position in the text, counted from 1 as editors do."""

    line: int
    column: int


class YamlProblem(NamedTuple):
    """Something wrong with the YAML itself."""

    place: Position
    path: KeyPath
    message: str


class Document(NamedTuple):
    """The values of a text, where each value and each key stands, and what is wrong with the YAML itself.

    A `value` of None is that of an empty text. The path of ``streams[0].port`` is ``("streams", 0, "port")``.
    """

    value: Any
    values: dict[KeyPath, Position]
    keys: dict[KeyPath, Position]
    problems: list[YamlProblem]


def parse(text: str) -> Document:
    """Read one YAML document. Any text gives a `Document`; one that is not YAML gives a single problem."""
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = Position(before.count("\n") + 1, error.position - before.rfind("\n"))
        return _unreadable(place, f"the character {chr(error.character)!a} is not allowed in YAML")
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        return _unreadable(_place(error.problem_mark or loader.get_mark()), _describe(error))
    except (ValueError, OverflowError):  # from pyyaml's chr() and int(), at "\UFFFFFFFF" and %YAML 1.999…
        return _unreadable(_place(loader.get_mark()), "an escape or a number that is too large")
    document = Document(None, {}, {}, [])
    return document if root is None else document._replace(value=_walk(root, (), document))


class _Loader(yaml.SafeLoader):
    """Composes nodes: no aliases (a few lines of them can stand for a terabyte), a limited depth."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (pyyaml's own; YAML 1.2's follow below)
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(None, None, "an alias (*name): write the value out", mark)
        if self.depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(None, None, "nested too deeply", mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_TAG = "tag:yaml.org,2002:"
for _name, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_pattern + r"\Z", re.ASCII), _first)


def _text(text: str) -> str:
    r"""Return `text`; ValueError for half a character, which the escape "\ud800" makes."""
    text.encode()
    return text


_SCALARS: dict[str, Callable[[str], object]] = {
    _TAG + "null": lambda text: None,
    _TAG + "bool": lambda text: {"true": True, "false": False}[text.lower()],
    _TAG + "int": int,
    _TAG + "float": float,
    _TAG + "str": _text,
}
_COLLECTIONS = {_TAG + "map", _TAG + "seq"}


def _walk(node: yaml.Node, path: KeyPath, document: Document) -> object:
    """Return the value of `node`, and note in `document` where its parts stand."""
    document.values[path] = place = _place(node.start_mark)
    if node.tag not in _SCALARS and node.tag not in _COLLECTIONS:
        document.problems.append(YamlProblem(place, path, f"the tag {node.tag!a} has no meaning here"))
        return None
    if isinstance(node, yaml.MappingNode):
        return _walk_mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_walk(item, (*path, index), document) for index, item in enumerate(node.value)]
    try:
        return _SCALARS[node.tag](node.value)
    except (ValueError, KeyError):  # `!!int x`, more digits than Python converts, half a character
        document.problems.append(YamlProblem(place, path, f"not of the type {node.tag.removeprefix(_TAG)}"))
        return None


def _walk_mapping(node: yaml.MappingNode, path: KeyPath, document: Document) -> dict[str, object]:
    value: dict[str, object] = {}
    for key_node, value_node in node.value:
        place = _place(key_node.start_mark)
        key = _key(key_node)
        if key is None:
            document.problems.append(YamlProblem(place, path, "a key must be a word"))
            continue
        here = (*path, key)
        if key in value:
            first = document.keys[here].line
            document.problems.append(YamlProblem(place, here, f"duplicate key; the first is on line {first}"))
            continue
        document.keys[here] = place
        value[key] = _walk(value_node, here, document)
    return value


def _key(node: yaml.Node) -> str | None:
    """Return the text of a key; what YAML takes for a number is a word here, but a list is not."""
    try:
        return _text(node.value) if isinstance(node, yaml.ScalarNode) else None
    except ValueError:
        return None


def _place(mark: Any) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def _describe(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    hint = " (indent with spaces, not tabs)" if "'\\t'" in (error.problem or "") else ""
    return " ".join(", ".join(parts).split()) + hint


def _unreadable(place: Position, message: str) -> Document:
    return Document(None, {}, {}, [YamlProblem(place, (), message)])
