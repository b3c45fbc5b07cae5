"""Output in an encoding that lacks some of our characters: they are replaced, and the report goes on.

A `cp1252` file on Windows, a `latin-1` locale, plain ASCII: what the encoding cannot show is written with the
letters that everybody has, and otherwise as a question mark.
"""

import codecs
import sys
import unicodedata
from typing import TextIO

ERRORS = "astropix-replace"

_PLAIN = {
    "…": "...", "–": "-", "—": "-", "\u2212": "-", "×": "x", "·": ".", "•": "*", "→": "->",
    "µ": "u", "μ": "u",
    "≤": "<=", "≥": ">=", "✓": "+", "✔": "+", "✗": "x", "✘": "x", "←": "<-",
    "░": ".", "▒": ":", "▓": "*", "█": "#", "\u2018": "'", "\u2019": "'", "“": '"', "”": '"',
    "─": "-", "━": "-", "│": "|", "┃": "|",
}  # fmt: skip


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(plain, error.object[error.start : error.end])), error.end


def plain(character: str) -> str:
    """Return what to write in ASCII for a character: the same without its accents, or a question mark."""
    if character in _PLAIN:
        return _PLAIN[character]
    if unicodedata.category(character) == "Zs":
        return " "
    if 0x2500 <= ord(character) <= 0x259F:  # lines and blocks
        return "-" if ord(character) < 0x2580 else "#"
    simple = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return simple or "?"


def replace_unknown(*streams: TextIO) -> None:
    """Let these streams replace what their encoding cannot show."""
    codecs.register_error(ERRORS, _replace)
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ERRORS)


def prepare() -> None:
    """Let standard output and standard error replace what their encoding cannot show."""
    replace_unknown(sys.stdout, sys.stderr)
