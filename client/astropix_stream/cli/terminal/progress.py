"""How far a command is: a bar on a terminal, a line every few seconds elsewhere. Both on standard error."""

import os
import sys
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from astropix_stream import numbers

_BAR_EVERY_S = 0.1
_FIELDS = ("amount", "rate", "note")
_LINE_EVERY_S = 5.0


def on_terminal() -> bool:
    """Tell whether a person looks at standard error, on a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Progress(AbstractContextManager["Progress"], ABC):
    """Shows how many readouts were dealt with, how fast, and a note.

    Parameters
    ----------
    total
        Readouts in all; None where there is no end.
    in_bytes
        What is counted is bytes of a file, not readouts; the time left is shown too.
    """

    first_s: float
    every_s: float

    def __init__(self, total: int | None, *, in_bytes: bool = False) -> None:
        self._total = total
        self._in_bytes = in_bytes
        self._meter = numbers.RateMeter()
        self._next_s: float | None = None

    def due(self, now_s: float) -> bool:
        """Tell whether it is time to show something new: a note is not made for nothing."""
        if self._next_s is None:
            self._meter.note(now_s, 0)
            self._next_s = now_s + self.first_s
        return now_s >= self._next_s

    def show(self, now_s: float, done: int, note: str) -> None:
        """Show how it is."""
        self._next_s = now_s + self.every_s
        rate = self._meter.note(now_s, done)
        if not self._in_bytes:
            self._show(done, numbers.rate(rate), note)
            return
        left = (self._total or 0) - done
        if rate and left > 0:
            note = f"{numbers.duration(left / rate)} left, {note}"
        self._show(done, f"{numbers.size(rate)}/s", note)

    def _amount(self, done: int, *, of_total: bool) -> str:
        """Say how much was dealt with, and of how much."""
        if self._in_bytes:
            return f"{numbers.size(done)} of {numbers.size(self._total or 0)}"
        return f"{done} of {self._total} readouts" if of_total else f"{done} readouts"

    @abstractmethod
    def _show(self, done: int, rate: str, note: str) -> None:
        """Show this."""


class Lines(Progress):
    """Plain lines, for a pipe, a file or a log."""

    first_s = every_s = _LINE_EVERY_S

    def _show(self, done: int, rate: str, note: str) -> None:
        if done:
            amount = self._amount(done, of_total=self._total is not None)
            print(", ".join(filter(None, (amount, rate, note))), file=sys.stderr)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Nothing(Lines):
    """Shows nothing, where something else does."""

    def _show(self, done: int, rate: str, note: str) -> None:
        pass


class Bar(Progress):
    """A bar that is gone at the end."""

    first_s, every_s = 0.0, _BAR_EVERY_S

    def __init__(self, total: int | None, *, in_bytes: bool = False) -> None:
        super().__init__(total, in_bytes=in_bytes)
        from rich import console, progress  # noqa: PLC0415  (only a terminal needs it)

        # As text, never as Rich's markup: a note may name a file.
        columns = [progress.TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in _FIELDS]
        self._bar = progress.Progress(
            progress.BarColumn(), *columns, console=console.Console(stderr=True), transient=True
        )
        self._task = self._bar.add_task("", total=total, amount="", rate="", note="")

    def _show(self, done: int, rate: str, note: str) -> None:
        amount = self._amount(done, of_total=False)
        self._bar.update(self._task, completed=done, amount=amount, rate=rate, note=note)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def open_display(total: int | None = None, *, in_bytes: bool = False) -> Progress:
    """Return the display that fits where standard error goes."""
    return (Bar if on_terminal() else Lines)(total, in_bytes=in_bytes)


_SOON = 16 << 20  # bytes of a file that are dealt with before a bar would be seen


def open_file_display(size_bytes: int) -> Progress:
    """Return the display for the reading of files of so many bytes in all."""
    return open_display(size_bytes, in_bytes=True) if size_bytes > _SOON else Nothing(None)
