"""Write what arrives into .apx files, one for each source, with an account beside each.

A recorder that is killed loses at most the readouts of the last second. One that cannot write any more leaves
whole readouts only, and counts the others.
"""

import errno
import json
import logging
import os
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from astropix_stream import __version__
from astropix_stream.batch import Batch, Source
from astropix_stream.cli.files.splitting import Splitting
from astropix_stream.clock import Moment
from astropix_stream.counting.sequencing import KernelDrops, SourceSequence
from astropix_stream.errors import ConfigError
from astropix_stream.fileio import ApxWriter, FileHeader
from astropix_stream.fmt import AstroPix4Readout

_FLUSH_S = 0.5  # at most, before the system has what was received
_ACCOUNT_S = 2.0  # between two versions of an account
_MAX_SOURCES = 64  # whose files are open at once: forged sources must not use up the descriptors

_log = logging.getLogger(__name__)


class Part:
    """One file of a recording.

    Parameters
    ----------
    path
        The file.
    source, url
        Where the readouts come from, for the header.
    now
        When the first of them was received.
    overwrite
        Whether the file may exist already.
    """

    def __init__(self, path: Path, source: Source, url: str, now: Moment, *, overwrite: bool) -> None:
        self.path = path
        self.source = source
        self.begun_s = self.last_s = now.s
        self.readouts = 0
        self.not_written = 0
        self._flushed_s = now.s
        self._facts: dict[str, Any] = {}
        self._header = {"source": str(source), "url": url}
        self._header |= {"start_time": _iso(now.ns), "recorder": f"apx {__version__}"}
        header = FileHeader(AstroPix4Readout, self._header)
        self._writer = ApxWriter(path, header, overwrite=overwrite)
        self.size = self._flushed_size = len(header.serialize())
        self._ends: list[int] = []  # in the file, of the readouts that the system may not have yet
        try:
            self._writer.flush()
        except OSError:  # a file without its header is none
            self._close_writer()
            path.unlink()
            raise

    def append(self, batch: Batch, begin: int, end: int, now: Moment) -> None:
        """Append readouts `begin` to `end` - 1 of a batch.

        Raises
        ------
        OSError
            They may not all be written: `salvage` then tells.
        """
        offset = batch.ends[begin - 1] if begin else 0
        self._facts.setdefault("first_readout_id", batch.readout_ids[begin])
        self._facts.setdefault("first_timestamp", batch.timestamps[begin])
        self._facts["last_readout_id"] = batch.readout_ids[end - 1]
        self._facts["last_timestamp"] = batch.timestamps[end - 1]
        self._ends += [self.size + there - offset for there in batch.ends[begin:end]]
        self.size = self._ends[-1]
        self.readouts += end - begin
        self.last_s = now.s
        self._writer.write(batch.payload[offset : batch.ends[end - 1]])

    def flush(self, now: Moment, *, every_s: float = _FLUSH_S) -> None:
        """Give the system what it does not have, if that has waited for long enough."""
        if not self._ends or now.s - self._flushed_s < every_s:
            return
        self._writer.flush()
        self._flushed_s = now.s
        self._flushed_size = self.size
        self._ends.clear()

    def salvage(self) -> None:
        """Close the file after an error, and cut it after its last whole readout."""
        self._close_writer()
        there = 0
        with suppress(OSError):  # the disk may be gone, not full
            there = self.path.stat().st_size
        whole = bisect_right(self._ends, there)
        self.size = self._ends[whole - 1] if whole else self._flushed_size
        self.not_written = len(self._ends) - whole
        self.readouts -= self.not_written
        with suppress(OSError):
            os.truncate(self.path, self.size)

    def _close_writer(self) -> None:
        with suppress(OSError):  # closing flushes, and fails again
            self._writer.close()

    def close(self) -> None:
        """Close the file.

        Raises
        ------
        OSError
            The last readouts may not all be written: `salvage` then tells.
        """
        self._writer.close()

    def write_account(self, stream: dict[str, Any], now: Moment, *, complete: bool) -> None:
        """Write beside the file what is in it and what was lost; a crash leaves the last version whole."""
        account = self._header | self._facts
        account |= {"file": self.path.name, "readouts": self.readouts, "bytes": self.size}
        account |= {"not_written": self.not_written, "updated": _iso(now.ns), "complete": complete}
        _replace(account_path(self.path), json.dumps(account | {"stream": stream}, indent=1) + "\n")


def _replace(path: Path, text: str) -> None:
    """Write a text file anew, so that there is a whole one at any time.

    On a full disk there is no room for the new one beside the old; then the old one's is used.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        with path.open("r+", encoding="utf-8") as file:
            file.write(text)
            file.truncate()


def account_path(path: Path) -> Path:
    """Return where the account of a file is: run.json for run.apx."""
    return path.with_suffix(".json")


def _iso(epoch_ns: int) -> str:
    return datetime.fromtimestamp(epoch_ns / 1e9, UTC).isoformat(timespec="milliseconds")


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
        Whether files may be overwritten. Without it a number that is taken is left out.

    Raises
    ------
    ConfigError
        There is such a file already, or it cannot be one.
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
        self, path: Path, url: str, splitting: Splitting, stream: Callable[[], dict[str, Any]], *, force: bool
    ) -> None:
        _check_target(path, force)
        self._path, self._url, self._splitting, self._force = path, url, splitting, force
        self._stream = stream
        self._number = 0
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

    def take(self, batch: Batch, now: Moment, most: int | None = None) -> None:
        """Write a batch, or the first `most` of it; after an error, only count it."""
        end = len(batch) if most is None else min(most, len(batch))
        done = self._write(batch, end, now) if self.error is None else 0
        self._missed += end - done

    def _write(self, batch: Batch, end: int, now: Moment) -> int:
        """Write the readouts before `end`; return how many were given to files, that count what they lose."""
        begin = 0
        try:
            track = self._track(batch.source, now)
            runs = self._begun_runs(track, batch, now)
            while begin < end:
                part = self._part_for(track, batch, begin, begin in runs, now)
                fitting = self._splitting.fitting(batch, begin, part.size)
                stop = min(filter(begin.__lt__, runs), default=end)
                first, begin = begin, min(end, stop, max(begin + 1, fitting))
                part.append(batch, first, begin, now)
        except OSError as error:
            self._fail(error)
        return begin

    def _begun_runs(self, track: "_Track", batch: Batch, now: Moment) -> set[int]:
        """Return at which readouts of a batch a new run begins, if that matters."""
        begun = track.sequence.note_received(batch.readout_ids, batch.timestamps, now)
        return {position for position, _ in begun} if self._splitting.runs else set()

    def _part_for(self, track: "_Track", batch: Batch, begin: int, new_run: bool, now: Moment) -> Part:
        """Return the file that goes on, or a new one."""
        part, splitting = track.part, self._splitting
        if part is not None:
            full = splitting.fitting(batch, begin, part.size) <= begin
            if not (new_run or full or splitting.is_over(now.s - part.begun_s)):
                return part
            self._close(track, now)
        track.part = self._open_part(batch.source, now)
        return track.part

    def _open_part(self, source: Source, now: Moment) -> Part:
        """Open the next file that is not there yet."""
        while True:
            self._number += 1
            path = self._path
            if self._number > 1:
                path = path.with_name(f"{path.stem}-{self._number}{path.suffix}")
            with suppress(FileExistsError):
                part = Part(path, source, self._url, now, overwrite=self._force)
                break
        own = any(part.source != source for part in self.parts)
        self.parts.append(part)
        _log.info("recording %s to %s%s", source, path, ": another source, a file of its own" if own else "")
        self._write_account(part, now, complete=False)  # now, while there is room on the disk
        return part

    def _track(self, source: Source, now: Moment) -> "_Track":
        if source not in self._tracks:
            if len(self._tracks) >= _MAX_SOURCES:
                self._forget_one(now)
            self._tracks[source] = _Track(SourceSequence(1, KernelDrops()))
        return self._tracks[source]

    def _forget_one(self, now: Moment) -> None:
        """Forget the source that was silent for longest: each start of a DAQ comes from a new port."""
        source, track = min(self._tracks.items(), key=lambda item: item[1].sequence.last_s)
        self._close(track, now)
        del self._tracks[source]

    def _close(self, track: "_Track", now: Moment) -> None:
        if track.part is not None:
            track.part.close()
            self._write_account(track.part, now, complete=True)
            track.part = None

    def _fail(self, error: OSError) -> None:
        """Write no more; keep the whole readouts of every open file."""
        self.error = error
        for part in self._open_parts():
            part.salvage()

    def _open_parts(self) -> list[Part]:
        return [track.part for track in self._tracks.values() if track.part is not None]

    def tick(self, now: Moment) -> None:
        """Give the system what has waited, and bring the accounts up to date; to be called often."""
        if self.error is not None:
            return
        try:
            for part in self._open_parts():
                part.flush(now)
        except OSError as error:
            self._fail(error)
        if now.s >= self._accounts_s:
            self._accounts_s = now.s + _ACCOUNT_S
            for part in self._open_parts():
                self._write_account(part, now, complete=False)

    def close(self, now: Moment) -> None:
        """End the recording."""
        try:
            if self.error is None:
                for part in self._open_parts():
                    part.close()
        except OSError as error:
            self._fail(error)
        for part in self._open_parts():
            self._write_account(part, now, complete=self.error is None)

    def _write_account(self, part: Part, now: Moment, *, complete: bool) -> None:
        try:
            part.write_account(self._stream(), now, complete=complete)
        except OSError as error:  # a full disk may leave room for the readouts all the same
            _log.warning("no account of %s: %s", part.path, error.strerror)


@dataclass(slots=True)
class _Track:
    """A source: what its runs are, and the file that its readouts go to."""

    sequence: SourceSequence
    part: Part | None = None


def _check_target(path: Path, force: bool) -> None:
    """Say at once what would otherwise be found out when the first readout comes."""
    if path.suffix != ".apx":
        raise ConfigError(f"{path}: a recording is called something.apx")
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a directory", str(path))
    if not os.access(path.parent, os.W_OK):
        path.parent.stat()  # says so if there is no such directory
        raise PermissionError(errno.EACCES, "you cannot write here", str(path.parent))
    for there in (path, account_path(path)):
        if there.exists() and not force:
            raise ConfigError(f"{there} exists: choose another name, or overwrite it with --force")
