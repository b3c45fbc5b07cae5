"""How the run was taken, out of a file's header or a relay's notes: names and texts to show. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

MAX_LINES, MAX_TEXT = 200, 200
#: What a person asks first, by the last part of a name; what the DAQ's options call threshold and injection.
_FIRST = ("name", "threshold", "vinj", "inject", "injection", "beam", "chipver")


class Setup(NamedTuple):
    """The setup: a sentence of what matters most, and everything."""

    headline: str
    lines: tuple[tuple[str, str], ...]


def setup_of(notes: Mapping[str, Any]) -> Setup:
    """Return what there is to show.

    Parameters
    ----------
    notes
        Texts, numbers, lists and mappings of these, by names; a name of '' stands for a text alone.
    """
    lines: list[tuple[str, str]] = []
    for line in _walk(notes, ""):
        if len(lines) == MAX_LINES:
            lines.append(("", "and more"))
            break
        lines.append(line)
    known = [(name, text) for name, text in lines if _plain(name) in _FIRST and text not in ("", "None")]
    if not known and len(lines) <= len(_FIRST):
        known = lines  # notes of a person, all of which matter
    known.sort(key=lambda line: _FIRST.index(_plain(line[0])) if _plain(line[0]) in _FIRST else len(_FIRST))
    plain = [_plain(name) for name, _ in known]
    short = (name if plain.count(_plain(name)) > 1 else name.rpartition(".")[2] for name, _ in known)
    said = (f"{name} {text}".strip() for name, (_, text) in zip(short, known, strict=True))
    return Setup(", ".join(said), tuple(lines))


def _plain(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _walk(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Yield a name and a text for each value inside; short lists of plain values are one."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _walk(one, f"{name}.{_readable(key)}" if name else _readable(key))
    elif isinstance(value, list) and any(isinstance(one, Mapping | list) for one in value):
        for i, one in enumerate(value):
            yield from _walk(one, f"{name}[{i}]")
    else:
        yield name, _readable(value)


def _readable(value: Any) -> str:
    """Return one line of what can be printed, of bounded length."""
    text = "".join(char if char.isprintable() else " " for char in str(value))
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
