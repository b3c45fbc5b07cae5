"""Which readout is shown, and how a key changes that. Pure."""

from typing import Protocol

#: For 80 columns.
KEYS = "q quit  n → next  p ← previous  space b page  / id  e error  g G first last"

_NAMES = {
    b"\x1b[C": "next", b"\x1b[D": "previous", b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[5~": "page up",
    b"\x1b[6~": "page down", b"\x1b[H": "first", b"\x1b[F": "last", b"\x1b[1~": "first", b"\x1b[4~": "last",
    b"n": "next", b"p": "previous", b"k": "up", b"j": "down", b"b": "page up", b" ": "page down",
    b"g": "first", b"G": "last", b"e": "error", b"/": "search", b"q": "quit", b"\x04": "quit",
    b"l": "next", b"h": "previous",
}  # fmt: skip
_ENTER, _ERASE, _ESCAPE = (b"\r", b"\n"), (b"\x7f", b"\x08"), b"\x1b"
_MOST_DIGITS = 10


class Steps(Protocol):
    """What can be shown: a `Deck`."""

    complete: bool

    def __len__(self) -> int: ...

    def reach(self, index: int) -> bool:
        """Read as far as a readout; return whether there is one."""

    def last(self) -> int:
        """Read to the end; return the index of the last readout."""

    def find(self, readout_id: int, index: int) -> int | None:
        """Return the next readout behind one that has an id."""

    def ids(self) -> tuple[int, int]:
        """Return the lowest and the highest readout_id."""

    def next_error(self, index: int) -> int | None:
        """Return the next readout behind one in which something is wrong."""


def split_keys(data: bytes) -> list[bytes]:
    """Divide what a terminal sent into keys; a key that sends a sequence is one."""
    keys = []
    at = 0
    while at < len(data):
        end = at + 1
        if data[at : at + 1] == _ESCAPE and data[at + 1 : at + 2] in (b"[", b"O"):
            end = at + 2
            while end < len(data) and not 0x40 <= data[end] <= 0x7E:
                end += 1
            end += 1
        keys.append(data[at:end].replace(b"\x1bO", b"\x1b["))
        at = end
    return keys


class Stepping:
    """Where one is in a file.

    Parameters
    ----------
    deck
        The file, of which readout `index` was reached.
    index
        What to show first.

    Attributes
    ----------
    index, scroll
        Which readout is shown, from which row on.
    message
        What to tell; empty for nothing.
    typed
        The digits of the id that is searched, as far as they were typed; None when none is.
    done
        Whether `q` was pressed.
    """

    def __init__(self, deck: Steps, index: int) -> None:
        self._deck = deck
        self.index, self.scroll = index, 0
        self.message = ""
        self.typed: str | None = None
        self.done = False

    def press(self, key: bytes, rows: int, height: int) -> None:
        """Do what a key says; `height` of the `rows` of the readout are seen."""
        self.message = ""
        if self.typed is not None:
            self._type(key)
            return
        name = _NAMES.get(key, "")
        most = max(0, rows - height)
        if name == "quit":
            self.done = True
        elif name == "search":
            self.typed = ""
        elif name in ("up", "down"):
            self.scroll = max(0, min(most, self.scroll + (1 if name == "down" else -1)))
        elif name == "page down" and self.scroll < most:
            self.scroll = min(most, self.scroll + height)
        elif name == "page up" and self.scroll > 0:
            self.scroll = max(0, self.scroll - height)
        elif name in ("next", "page down"):
            self._go(self.index + 1)
        elif name in ("previous", "page up"):
            self._go(self.index - 1)
        elif name == "first":
            self._go(0)
        elif name == "last":
            self._go(self._deck.last())
        elif name == "error":
            found = self._deck.next_error(self.index)
            self._go_or_say(found, "no later readout has anything wrong with it")

    def _go(self, index: int) -> None:
        if index < 0:
            self.message = "this is the first readout"
        elif not self._deck.reach(index):
            self.message = "this is the last readout"
        else:
            self.index, self.scroll = index, 0

    def _go_or_say(self, index: int | None, text: str) -> None:
        if index is None:
            self.message = text
        else:
            self._go(index)

    def _type(self, key: bytes) -> None:
        typed = self.typed or ""
        if key in _ENTER:
            self.typed = None
            if typed:
                found = self._deck.find(int(typed), self.index)
                self._go_or_say(found, f"no readout has the id {typed}; {self._range()}")
        elif key == _ESCAPE:
            self.typed = None
        elif key in _ERASE:
            self.typed = typed[:-1] if typed else None
        elif key.isdigit() and len(typed) < _MOST_DIGITS:
            self.typed = typed + key.decode()

    def _range(self) -> str:
        lowest, highest = self._deck.ids()
        return f"they go from {lowest} to {highest}"
