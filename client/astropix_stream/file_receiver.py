"""Receive from a file: ``open_receiver(AstroPix4Readout, 'run.apx')``.

A file of any format (`files`) is a source as a group or a relay is. It ends: then `receive` raises
`ReceiveTimeout` at once, whatever the timeout, iteration stops, and `ended` is true. A file that is followed
does not end.
"""

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, Self, TypeVar

from astropix_stream import clock
from astropix_stream.batch import Batch
from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import Ledger, direct_ledger
from astropix_stream.counting.state import State
from astropix_stream.counting.stream import StreamLedger
from astropix_stream.errors import ConfigError, ReceiveTimeout
from astropix_stream.files.following import REST_S, Follower
from astropix_stream.files.reading import STDIN, describe_damage, open_readouts
from astropix_stream.fmt import Kind, kind_of, kind_of_class
from astropix_stream.receiving.receiver import Receiver
from astropix_stream.url import SourceUrl
from astropix_stream.wire import NO_SOURCE

R = TypeVar("R")

_AT_ONCE = 4096  # readouts in a batch
_AT_ONCE_NS = 1_000_000_000  # of a run in a batch, so that rates are told second by second
_AFTER_ALL = Moment(float("inf"), 0)  # in a file no time passes before its end
_LIKE_AN_ADDRESS = re.compile(r"[^/]+:\d+")
_ENDS = ("beginning", "end")

_log = logging.getLogger(__name__)


class FileReceiver(Receiver[R]):
    """Hands out the readouts of a file, in the order in which they stand there.

    Parameters
    ----------
    readout_class
        Class of the readouts to return.
    path
        An .apx file, a text log, or raw frames of an A-STEP (`files.open_readouts`); ``-``: standard input.
    follow
        Go on with what is appended, over rotation and truncation, as ``tail -F``. The file need not be there
        yet. A folder stands for the newest file in it. Readouts of a format without timestamps get the time
        of reading.
    start
        'beginning' or 'end': with what to begin, of a file that is followed.
    timeout
        Seconds that `receive` and iteration wait for a readout of a file that is followed; None without end.
    any_kind
        Take readouts even if the file says that they are of another kind than `readout_class`.
    stride
        The DAQ wrote one readout in `stride`: ids that grow by this are no loss.

    Raises
    ------
    ConfigError
        The readouts are of another kind, or standard input is to be followed.
    FormatError, OSError
        It is no file of readouts, or cannot be read.
    """

    def __init__(
        self,
        readout_class: type[R],
        path: str | os.PathLike[str],
        *,
        follow: bool = False,
        start: str = "beginning",
        timeout: float | None = None,
        any_kind: bool = False,
        stride: int = 1,
    ) -> None:
        super().__init__(readout_class, timeout=timeout)
        if start not in _ENDS:
            raise ConfigError(f"start={start!r}: a file is read from its beginning or from its end")
        self._path = os.fspath(path)
        self._any_kind = any_kind
        self._kind = _kind_of_frames(readout_class)
        self._ledger = StreamLedger(stride=stride)
        self._batches_of_file: Iterator[Batch] = iter(())
        self._watch: _Watch | None = None
        self._event = -1
        self._trouble = ""
        self._uid: int | None = None
        self._follower: Follower | None = None
        if follow:
            if self._path == STDIN:
                raise ConfigError("standard input is read as it comes: there is nothing to follow")
            self._follower = Follower(Path(path), self._kind, from_end=start == "end")
        else:
            self._reader = open_readouts(path, self._kind)
            self._note_uid(self._reader.header.readout_uid)
            self._batches_of_file = self._walk()

    @classmethod
    def from_url(cls, readout_class: type[R], source: SourceUrl, /, **options: Any) -> Self:
        """Open the source of a path; `ConfigError` where it looks like an address without its scheme."""
        given = dict(source.options)
        if "follow" in given:
            options |= {"follow": True, "start": given["follow"]}
        try:
            return cls(readout_class, source.path, **options)
        except FileNotFoundError:
            if _LIKE_AN_ADDRESS.fullmatch(source.path):
                raise ConfigError(
                    f"{source.path}: no such file; a group is udp://{source.path}, a relay tcp://{source.path}"
                ) from None
            raise

    @property
    def trouble(self) -> str:
        """What is wrong with the file, as far as it was read; also logged at its end."""
        return self._trouble

    def address(self) -> str:
        """Return the path."""
        return self._path

    @property
    def stride(self) -> int:
        """The DAQ multicasts one readout in so many, as given."""
        return self._ledger.stride

    @property
    def readout_uid(self) -> int | None:
        """The kind of the readouts, as the file says."""
        return self._uid

    @property
    def notes(self) -> Mapping[str, Any]:
        """What stands at the top of the file: how the run was taken."""
        header = self._reader.header if self._follower is None else self._follower.header
        return {name: value for name, value in (header or {}).items() if name != "readout_uid"}

    @property
    def state(self) -> State:
        """LIVE while there are readouts, QUIET at the end of the file."""
        if self._follower is not None:
            return super().state
        return State.QUIET if self.ended else State.LIVE

    @property
    def ledger(self) -> Ledger:
        """What is in the file, and what is missing in it."""
        if self.ended:
            self._ledger.tick(_AFTER_ALL)
        elif self._follower is not None:
            self._ledger.tick(clock.now())
        return direct_ledger(self._ledger)

    def _note_uid(self, uid: int) -> None:
        wanted: Any = self._readout_class
        if not self._any_kind and hasattr(wanted, "uid") and wanted.uid() != uid:
            self.close()
            raise ConfigError(f"{self}: its readouts are of {kind_of(uid)}, not of {kind_of(wanted.uid())}")
        self._uid = uid

    def _receive_batches(self, timeout_s: float | None) -> list[Batch]:
        if self._follower is not None:
            return self._poll(self._follower, timeout_s)
        batch = next(self._batches_of_file, None)
        if batch is None:
            self._end()
            raise ReceiveTimeout(f"{self._path} ends here")
        return [batch]

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self._tell_readiness()
            if self._trouble:
                _log.warning("%s", self._trouble)

    def _walk(self) -> Iterator[Batch]:
        """Make batches of the file."""
        waiting: list[tuple[bytes, int, int]] = []
        for readout in self._reader.datagrams():
            if waiting and (len(waiting) >= _AT_ONCE or abs(readout[2] - waiting[0][2]) >= _AT_ONCE_NS):
                yield self._batch(waiting, recovered=True)
                waiting = []
            waiting.append(readout)
        self._trouble = describe_damage(self._path, self._reader)
        if waiting:
            yield self._batch(waiting, recovered=True)

    def _batch(self, readouts: list[tuple[bytes, int, int]], *, recovered: bool) -> Batch:
        raws, readout_ids, timestamps = map(list, zip(*readouts, strict=True))
        ends = list(accumulate(map(len, raws)))
        received_ns = timestamps[0] if recovered and timestamps[0] else clock.now().ns
        batch = Batch(NO_SOURCE, received_ns, b"".join(raws), readout_ids, timestamps, ends, recovered)
        self._ledger.note(batch, Moment(0.0, timestamps[-1]) if recovered else clock.now())
        return batch

    def _poll(self, follower: Follower, timeout_s: float | None) -> list[Batch]:
        """Read what was appended; wait for it once, for as long as a file rests between two looks."""
        found = follower.poll()
        behind = follower.behind
        if not found and not behind and timeout_s != 0.0:
            time.sleep(REST_S if timeout_s is None else min(REST_S, timeout_s))
            found = follower.poll()
        if follower.header is not None and follower.header.readout_uid != self._uid:
            self._note_uid(follower.header.readout_uid)
        if not found:
            return []
        return [self._batch([readout[:3] for readout in found], recovered=False)]

    def _unread(self) -> bool:
        if self._follower is None:
            return not self.ended
        return self._follower.behind

    def _watched_fds(self) -> list[int]:
        if self._event < 0:
            self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            if self._follower is not None:
                self._watch = _Watch(self._event)
        return [self._event]

    def _tell_readiness(self) -> None:
        if self._watch is not None:
            self._watch.clear()
        super()._tell_readiness()

    def _close(self) -> None:
        if self._watch is not None:
            self._watch.close()
        if self._event >= 0:
            os.close(self._event)
            self._event = -1
        if self._follower is not None:
            self._follower.close()
        elif hasattr(self, "_reader"):
            self._reader.close()

    def __str__(self) -> str:
        return "standard input" if self._path == STDIN else self._path


class _Watch:
    """Makes a descriptor readable every `REST_S`, for who waits on one: no file tells that it grows."""

    def __init__(self, event: int) -> None:
        self._event = event
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="file-watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(REST_S):
            os.eventfd_write(self._event, 1)

    def clear(self) -> None:
        """Make it unreadable until the next look is due."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event)

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()


def _kind_of_frames(readout_class: type[Any]) -> Kind | None:
    """Return the kind to read raw frames with, where the class has settings of the firmware."""
    return kind_of_class(readout_class) if hasattr(readout_class, "frame_length") else None
