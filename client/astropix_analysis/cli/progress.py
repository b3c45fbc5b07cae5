"""How far a command is: a bar on a terminal, a line every few seconds elsewhere. Both on standard error."""

import os
import sys
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from astropix_analysis.cli import texts

_BAR_EVERY_S = 0.1
_LINE_EVERY_S = 5.0
LONG_WAIT_S = 1.5  # from which on the next readout is announced, lest the command looks hung


def on_terminal() -> bool:
    """Tell whether a person looks at standard error, on a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Progress(AbstractContextManager["Progress"], ABC):
    """Shows how many readouts were sent, how fast, and what time is left.

    Parameters
    ----------
    total, duration_s
        Readouts and seconds in all; None where there is no end.
    """

    every_s: float

    def __init__(self, total: int | None, duration_s: float | None) -> None:
        self._total = total
        self._duration_s = duration_s
        self._meter = texts.RateMeter()
        self._next_s = float("-inf")
        self._long_wait = False

    def update(self, now_s: float, done: int, at_s: float, waiting_s: float = 0.0) -> None:
        """Say how far it is, as often as one likes: `at_s` seconds into the whole, with so long to wait."""
        long_wait = waiting_s > LONG_WAIT_S
        if now_s < self._next_s and long_wait <= self._long_wait:
            return
        self._long_wait = long_wait
        self._next_s = now_s + self.every_s
        rate = texts.rate(self._meter.note(now_s, done))
        if long_wait:
            self._show(done, rate, f"next readout in {waiting_s:.0f} s")
        elif self._duration_s is None:
            self._show(done, rate, "")
        else:
            self._show(done, rate, f"{texts.duration(max(0.0, self._duration_s - at_s))} left")

    @abstractmethod
    def _show(self, done: int, rate: str, note: str) -> None:
        """Show this."""


class Lines(Progress):
    """Plain lines, for a pipe, a file or a log."""

    every_s = _LINE_EVERY_S

    def _show(self, done: int, rate: str, note: str) -> None:
        if done:
            of_total = "" if self._total is None else f" of {self._total}"
            print(", ".join(filter(None, (f"{done}{of_total} readouts", rate, note))), file=sys.stderr)

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

    every_s = _BAR_EVERY_S

    def __init__(self, total: int | None, duration_s: float | None) -> None:
        super().__init__(total, duration_s)
        from rich import console, progress  # noqa: PLC0415  (only a terminal needs it)

        columns = ("{task.completed:.0f} readouts", "{task.fields[rate]}", "{task.fields[note]}")
        self._bar = progress.Progress(
            progress.BarColumn(), *columns, console=console.Console(stderr=True), transient=True
        )
        self._task = self._bar.add_task("", total=total, rate="", note="")

    def _show(self, done: int, rate: str, note: str) -> None:
        self._bar.update(self._task, completed=done, rate=rate, note=note)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def show(total: int | None, duration_s: float | None) -> Progress:
    """Return the display that fits where standard error goes."""
    return (Bar if on_terminal() else Lines)(total, duration_s)
