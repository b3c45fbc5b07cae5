"""The relay's log: one line an event; a problem that repeats is said once, then summed up each minute.

Logging never waits: a thread writes what is queued, and what finds the queue full is dropped and counted. So
a journal that hangs, a pipe that nobody reads and a full disk cost lines of the log, and no readout.
"""

import atexit
import copy
import io
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from astropix_relay.host import systemd

_log = logging.getLogger(__name__)

SUM_S = 60.0
ALWAYS = {"always": True}
"""For `extra`: this answers a person's command, and is said as often as that is given."""
_MAX_PROBLEMS = 1000  # remembered at a time; beyond, each is said
_MAX_QUEUED = 256 << 10  # bytes of lines that wait to be written
_FINISH_S = 0.5  # for what waits at the end to be written
_STDERR = 2


class QueuedStream(io.TextIOBase):
    """A stream whose `write` never waits: a thread writes, in the order of the calls.

    Parameters
    ----------
    write
        Writes bytes; may block, and may raise OSError, which drops them.

    Attributes
    ----------
    dropped : int
        Texts that were dropped since the queue was full, or that could not be written.
    """

    def __init__(self, write: "Callable[[bytes], None]") -> None:
        self.dropped = 0
        self._write = write
        self._texts: deque[bytes] = deque()
        self._size = 0
        self._is_writing = False
        self._changed = threading.Condition()
        # A daemon: one that cannot write does not keep the process.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Queue a text."""
        data = text.encode(errors="backslashreplace")
        with self._changed:
            if self.is_full(len(data)):
                self.dropped += 1
            else:
                self._size += len(data)
                self._texts.append(data)
                self._changed.notify_all()
        return len(text)

    def is_full(self, size: int = 200) -> bool:
        """Return whether there is no room for a text of this size."""
        return self._size + size > _MAX_QUEUED

    def finish(self, timeout_s: float = _FINISH_S) -> bool:
        """Wait until everything is written, no longer than this; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._texts and not self._is_writing, timeout_s)

    def close(self) -> None:
        """Write what is queued, within a deadline, and end the thread; a second call does nothing."""
        super().close()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(_FINISH_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._texts or self.closed)
                if not self._texts:
                    return
                data = self._texts.popleft()
                self._size -= len(data)
                self._is_writing = True
            try:
                self._write(data)
            except OSError:  # the disk is full, or nobody is at the other end of the pipe
                self.dropped += 1
            finally:
                with self._changed:
                    self._is_writing = False
                    self._changed.notify_all()


def _write_to_stderr(data: bytes) -> None:
    """Write to the descriptor: a thread that is stuck in Python's own stream aborts the interpreter's end."""
    while data:
        try:
            data = data[os.write(_STDERR, data) :]
        except BlockingIOError:
            writable = select.poll()
            writable.register(_STDERR, select.POLLOUT)
            writable.poll()


class SummingHandler(logging.StreamHandler["TextIO | QueuedStream"]):
    """Writes the first of equal problems, and each minute how many more there were.

    Problems are warnings and errors; equal are those of one sentence about one thing: the text before its
    values are filled in, and the first value. The loop calls `tick` each second.
    """

    def __init__(self, stream: "TextIO | QueuedStream | None" = None) -> None:
        super().__init__(stream)  # type: ignore[arg-type]
        self._problems: dict[tuple[object, ...], _Problem] = {}
        self._dropped_told = 0

    @property
    def dropped(self) -> int:
        """Lines that were dropped."""
        return self.stream.dropped if isinstance(self.stream, QueuedStream) else 0

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
        self._tell_dropped()
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

    def _tell_dropped(self) -> None:
        """Tell once there is room again."""
        more = self.dropped - self._dropped_told
        if more and isinstance(self.stream, QueuedStream) and not self.stream.is_full():
            self._dropped_told += more
            _log.warning("%d lines of the log were dropped here: nobody read them", more, extra=ALWAYS)


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
    stream = QueuedStream(_write_to_stderr)
    atexit.register(stream.finish)
    handler = SummingHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    if systemd.stderr_is_journal():
        handler.setFormatter(systemd.JournalFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    return handler


def finish() -> None:
    """Have what was logged written before something else is, within a deadline."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, SummingHandler) and isinstance(handler.stream, QueuedStream):
            handler.stream.finish()
