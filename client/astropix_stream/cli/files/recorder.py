"""Write what arrives into .apx files, one for each source, with an account beside each.

A recorder that is killed loses at most the readouts of the last second. One that cannot write any more leaves
whole readouts only, and counts the others.
"""

import errno
import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from astropix_stream import clock, numbers
from astropix_stream.batch import Batch, Source, concatenated
from astropix_stream.cli.files.part import Origin, Part, account_path, recording_of
from astropix_stream.cli.files.splitting import Splitting
from astropix_stream.clock import Moment
from astropix_stream.counting.account import KernelDrops
from astropix_stream.counting.sequencing import SourceSequence
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.wire import NO_SOURCE

_ACCOUNT_S = 2.0  # between two versions of an account
_MAX_SOURCES = 64  # whose files are open at once: forged sources must not use up the descriptors

_log = logging.getLogger(__name__)


class Recorder:
    """Writes a recording, whatever its number of files: FILE.apx, FILE-2.apx and so on.

    Parameters
    ----------
    path
        The first file.
    url
        Where from, for the headers.
    splitting
        When to begin a new file.
    stream
        Gives what is known of the losses, for the accounts.
    force
        Whether the recording that is there may be replaced, with all its parts. A file that is no part of it
        is never overwritten: its number is left out, as each number that is taken is without `force`.
    kind
        Gives the uid of the readouts' kind, once one has arrived.

    Raises
    ------
    ConfigError
        There is such a file already, or it cannot be one; or files stand where parts of it would, that
        are no parts of the recording to be replaced.
    OSError
        There is no such directory, or nothing can be written there.

    Attributes
    ----------
    parts : list of Part
        In the order of their beginning.
    error : OSError or None
        Why nothing is written any more.
    """

    def __init__(
        self,
        path: Path,
        url: str,
        splitting: Splitting,
        stream: Callable[[], dict[str, Any]],
        *,
        force: bool,
        kind: Callable[[], int] = AstroPix4Readout.uid,
    ) -> None:
        _check_target(path, force)
        self._path, self._splitting, self._stream, self._kind = path, splitting, stream, kind
        self._origin = Origin(url, clock.now().ns)
        self._older = _older_parts(path) if force else []
        if force and splitting.divides:
            _check_others(path, self._older)
        self._numbers = count(1)
        self._accounts_fail = False
        self._tracks: dict[Source, _Track] = {}
        self._missed = 0
        self._accounts_s = 0.0
        self.parts: list[Part] = []
        self.error: OSError | None = None

    @property
    def readouts(self) -> int:
        """How many are in the files."""
        return sum(part.readouts for part in self.parts)

    @property
    def size(self) -> int:
        """Bytes in the files."""
        return sum(part.size for part in self.parts)

    @property
    def not_written(self) -> int:
        """How many were received and are in no file."""
        return self._missed + sum(part.not_written for part in self.parts)

    def take(self, batch: Batch, now: Moment) -> None:
        """Write a batch; after an error, only count it."""
        done = self._write(batch, now) if self.error is None else 0
        self._missed += len(batch) - done

    def _write(self, batch: Batch, now: Moment) -> int:
        """Write a batch; return how many readouts were given to files, that count what they lose.

        Where a new run is a new file, those of which it is not known yet whether they begin one wait.
        """
        track = self._track(batch.source, now)
        if not self._splitting.runs:
            return self._append(track, batch, len(batch), set(), now)
        begun, _ = track.sequence.note(batch, now)
        before = track.take_waiting()
        whole = concatenated([*before, batch])
        ready = len(whole) - track.sequence.undecided
        if ready < len(whole):
            track.waiting.append(whole.part(ready, len(whole)))
        waited = len(whole) - len(batch)
        written = self._append(track, whole, ready, {at + waited for at, _ in begun}, now)
        self._missed += min(ready, waited) - min(written, waited)
        return len(batch) - max(0, ready - max(written, waited))

    def _append(self, track: "_Track", batch: Batch, end: int, runs: set[int], now: Moment) -> int:
        """Write the readouts before `end`, with a new file where a run begins; return how many."""
        begin = 0
        try:
            while begin < end:
                part = self._part_for(track, batch, begin, begin in runs, now)
                fitting = self._splitting.fitting(batch, begin, part.size)
                stop = min(filter(begin.__lt__, runs), default=end)
                first, begin = begin, min(end, stop, max(begin + 1, fitting))
                part.append(batch, first, begin, now)
        except OSError as error:
            self._fail(error)
        return begin

    def _append_waiting(self, track: "_Track", now: Moment, *, at_last: bool = False) -> None:
        """Write what waited for long enough."""
        if not track.waiting:
            return
        begun = track.sequence.settle(Moment(math.inf, now.ns) if at_last else now)
        if track.sequence.undecided:
            return
        (batch,) = track.take_waiting()
        size = len(batch)
        self._missed += size - self._append(track, batch, size, {at + size for at, _ in begun}, now)

    def _part_for(self, track: "_Track", batch: Batch, begin: int, new_run: bool, now: Moment) -> Part:
        """Return the file that goes on, or a new one."""
        part, splitting = track.part, self._splitting
        if part is not None:
            full = splitting.fitting(batch, begin, part.size) <= begin
            over = splitting.is_over(now.s - part.begun_s) or part.readout_uid != self._kind()
            if not (new_run or full or over):
                return part
            self._close(track, now)
        track.part = self._open_part(batch.source, now)
        return track.part

    def _open_part(self, source: Source, now: Moment) -> Part:
        """Open the next file that is not there yet."""
        self._make_folder()
        self._remove_older()
        uid = self._kind()
        for number in self._numbers:
            path = _numbered(self._path, number)
            with suppress(FileExistsError):
                part = Part(path, source, self._origin, uid, now, overwrite=False)
                break
        own = any(part.source != source for part in self.parts)
        self.parts.append(part)
        what = self._stream if source == NO_SOURCE else source  # of a file nobody knows who sent its readouts
        _log.info("recording %s to %s%s", what, path, ": another source, a file of its own" if own else "")
        self._write_account(part, now, complete=False)  # now, while there is room on the disk
        return part

    def _make_folder(self) -> None:
        """Make the folder again if somebody has deleted it."""
        folder = self._path.parent
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _log.warning("the folder %s was deleted; it is made again", folder)

    def _remove_older(self) -> None:
        """Remove the recording that is replaced, now that there is something to put in its place."""
        older, self._older = self._older, []
        for path in older:
            path.unlink(missing_ok=True)
            account_path(path).unlink(missing_ok=True)
        if len(older) > 1:
            _log.info("replacing the older recording %s to %s", older[0], older[-1])

    def _track(self, source: Source, now: Moment) -> "_Track":
        if source not in self._tracks:
            if len(self._tracks) >= _MAX_SOURCES:
                self._forget_one(now)
            self._tracks[source] = _Track(SourceSequence(1, KernelDrops()))
        return self._tracks[source]

    def _forget_one(self, now: Moment) -> None:
        """Forget the source that was silent for longest: each start of a DAQ comes from a new port."""
        source, track = min(self._tracks.items(), key=lambda item: item[1].sequence.last_s)
        self._append_waiting(track, now, at_last=True)
        self._close(track, now)
        del self._tracks[source]

    def _close(self, track: "_Track", now: Moment) -> None:
        if track.part is not None:
            track.part.flush(now, every_s=0.0)
            track.part.write_header(self._stream(), now, complete=True)
            track.part.close()
            self._write_account(track.part, now, complete=True)
            track.part = None

    def _fail(self, error: OSError) -> None:
        """Stop writing; keep the whole readouts of every open file."""
        self.error = error
        for part in self._open_parts():
            part.salvage()

    @property
    def deleted(self) -> int:
        """How many are in no file because somebody has deleted theirs."""
        return sum(part.not_written for part in self.parts if part.is_deleted)

    def _notice_deleted(self) -> None:
        """Go on in new files where somebody has deleted those that are open."""
        for track in self._tracks.values():
            part = track.part
            if part is not None and part.was_deleted():
                readouts = numbers.counted(part.readouts, "readout")
                part.give_up()
                track.part = None
                _log.warning("%s was deleted, with %s; going on in a new file", part.path, readouts)

    def _open_parts(self) -> list[Part]:
        return [track.part for track in self._tracks.values() if track.part is not None]

    def tick(self, now: Moment) -> None:
        """Give the system what has waited, and bring the accounts up to date; to be called often."""
        for track in self._tracks.values():
            self._append_waiting(track, now)
        if self.error is not None:
            return
        try:
            for part in self._open_parts():
                part.flush(now)
        except OSError as error:
            self._fail(error)
        if now.s >= self._accounts_s:
            self._accounts_s = now.s + _ACCOUNT_S
            if self.error is None:
                self._notice_deleted()
            for part in self._open_parts():
                self._write_account(part, now, complete=False)

    def close(self, now: Moment) -> None:
        """End the recording."""
        for track in self._tracks.values():
            self._append_waiting(track, now, at_last=True)
        if self.error is None:
            self._notice_deleted()
        try:
            if self.error is None:
                for part in self._open_parts():
                    part.flush(now, every_s=0.0)
                    part.write_header(self._stream(), now, complete=True)
                    part.close()
        except OSError as error:
            self._fail(error)
        for part in self._open_parts():
            self._write_account(part, now, complete=self.error is None)

    def _write_account(self, part: Part, now: Moment, *, complete: bool) -> None:
        try:
            part.write_account(self._stream(), now, complete=complete)
            self._accounts_fail = False
        except OSError as error:  # a full disk may leave room for the readouts all the same
            if not self._accounts_fail:
                _log.warning("no account of %s: %s", part.path, error.strerror)
            self._accounts_fail = True


@dataclass(slots=True)
class _Track:
    """A source: what its runs are, and the file that its readouts go to."""

    sequence: SourceSequence
    part: Part | None = None
    waiting: list[Batch] = field(default_factory=list)
    """Readouts of which it is not known yet whether they begin a run: one batch, or none."""

    def take_waiting(self) -> list[Batch]:
        """Take out those that wait, and return them."""
        waiting, self.waiting = self.waiting, []
        return waiting


def _check_target(path: Path, force: bool) -> None:
    """Say at once what would otherwise be found out when the first readout comes."""
    if path.suffix != ".apx":
        raise ConfigError(f"{path}: the output file must end in .apx")
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a directory", str(path))
    if not os.access(path.parent, os.W_OK):
        path.parent.stat()  # says so if there is no such directory
        raise PermissionError(errno.EACCES, "you cannot write here", str(path.parent))
    for there in (path, account_path(path)):
        if there.exists() and not force:
            raise ConfigError(f"{there} exists: choose another name, or overwrite it with --force")


def _numbered(path: Path, number: int) -> Path:
    """Return the name of a part: run.apx, run-2.apx, run-3.apx."""
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def _numbered_files(path: Path) -> Iterator[Path]:
    """Iterate over the files that have names of further parts, by number."""
    numbers_there = []
    for there in path.parent.iterdir():
        number = there.stem.removeprefix(f"{path.stem}-")
        if number.isdecimal() and there.name == f"{path.stem}-{number}{path.suffix}" and number[0] != "0":
            numbers_there.append(int(number))
    yield from (_numbered(path, number) for number in sorted(numbers_there) if number > 1)


def _older_parts(path: Path) -> list[Path]:
    """Return the files of the recording that is there: the first, and those of which it is known."""
    recording = recording_of(path)
    further = [part for part in _numbered_files(path) if recording and recording_of(part) == recording]
    return [path, *further]


def _check_others(path: Path, older: list[Path]) -> None:
    """Refuse to put new parts between files of which nobody knows whether they are older parts."""
    others = [part for part in _numbered_files(path) if part not in older]
    if others:
        names = str(others[0]) if len(others) == 1 else f"{others[0]} to {others[-1]}"
        raise ConfigError(
            f"{names} would be among the new parts, and --force replaces only the recording {path.name}: "
            "remove what is no longer needed, or choose another name"
        )
