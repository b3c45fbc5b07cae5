"""The relay's log: one line an event; a problem that repeats is said once, then summed up each minute."""

import copy
import logging
import sys
import time
from typing import TextIO

from astropix_relay.host import systemd

SUM_S = 60.0
ALWAYS = {"always": True}
"""For `extra`: this answers a person's command, and is said as often as that is given."""
_MAX_PROBLEMS = 1000  # remembered at a time; beyond, each is said


class SummingHandler(logging.StreamHandler[TextIO]):
    """Writes the first of equal problems, and each minute how many more there were.

    Problems are warnings and errors; equal are those of one sentence about one thing: the text before its
    values are filled in, and the first value. The loop calls `tick` each second.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._problems: dict[tuple[object, ...], _Problem] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it."""
        if record.levelno < logging.WARNING or getattr(record, "always", False):
            super().emit(record)
            return
        first = record.args[0] if isinstance(record.args, tuple) and record.args else None
        key = (record.name, record.msg, str(first))
        problem = self._problems.get(key)
        if problem is not None:
            problem.more += 1
            problem.latest = record
            return
        if len(self._problems) < _MAX_PROBLEMS:
            self._problems[key] = _Problem(record, record.created)
        super().emit(record)

    def tick(self, now_s: float | None = None) -> None:
        """Sum up what is a minute old; `now_s` is seconds since the epoch."""
        now_s = time.time() if now_s is None else now_s
        assert self.lock is not None
        with self.lock:
            for key, problem in list(self._problems.items()):
                if 0 <= now_s - problem.since_s < SUM_S:
                    continue
                if not problem.more:
                    del self._problems[key]
                    continue
                super().emit(problem.summary())
                self._problems[key] = _Problem(problem.latest, now_s)


class _Problem:
    """A problem that was said, and how often since."""

    def __init__(self, record: logging.LogRecord, since_s: float) -> None:
        self.latest = record
        self.since_s = since_s
        self.more = 0

    def summary(self) -> logging.LogRecord:
        record = copy.copy(self.latest)
        record.msg = f"{record.getMessage()} ({self.more} more in a minute)"
        record.args = record.exc_info = record.exc_text = None
        return record


def set_up(level: str) -> SummingHandler:
    """Log to standard error from `level` on, with priorities where that is the journal."""
    handler = SummingHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    if systemd.stderr_is_journal():
        handler.setFormatter(systemd.JournalFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    return handler
