"""One file of a recording, and the account beside it."""

import json
import os
from bisect import bisect_right
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from astropix_stream import __version__
from astropix_stream.batch import Batch, Source
from astropix_stream.clock import Moment
from astropix_stream.fileio import ApxWriter, FileHeader
from astropix_stream.replacing import replacement

_FLUSH_S = 0.5  # at most, before the system has what was received
_ROOM = 2048  # bytes left in the header for the account, which has some 1200: still one block of a disk
_OURS = "astropix_stream"  # the header's key for what we tell besides the source
_DETAILS = ("losses", "paths")  # of an account, that do not go into a header


class Origin:
    """Where the readouts of a recording come from, for the headers.

    Attributes
    ----------
    url
        As a person wrote it.
    recording
        Names the recording that a file is a part of.
    """

    def __init__(self, url: str, now_ns: int) -> None:
        self.url = url
        self.recording = f"{_iso(now_ns)} {os.urandom(4).hex()}"


class Part:
    """One file of a recording.

    Parameters
    ----------
    path
        The file.
    source, origin, readout_uid
        Where the readouts come from and their kind, for the header.
    now
        When the first of them was received.
    overwrite
        Whether the file, and the account beside it, may exist already.

    Raises
    ------
    FileExistsError
        One of the two does, and may not.
    """

    def __init__(
        self, path: Path, source: Source, origin: Origin, readout_uid: int, now: Moment, *, overwrite: bool
    ) -> None:
        self.path = path
        self.source = source
        self.readout_uid = readout_uid
        self.begun_s = self.last_s = now.s
        self.readouts = 0
        self.not_written = 0
        self.is_deleted = False
        self._flushed_s = now.s
        self._facts: dict[str, Any] = {}
        self._header = {"source": str(source), "url": origin.url}
        self._header |= {"start_time": _iso(now.ns), "recorder": f"apx {__version__}"}
        self._ours: dict[str, Any] = {"program": f"apx {__version__}", "recording": origin.recording}
        self._ours["complete"] = False
        self._writer = ApxWriter(path, self._file_header(), overwrite=overwrite, room=_ROOM)
        self._descriptor = self._writer.fileno()
        self.size = self._flushed_size = self._writer.header_size
        self._ends: list[int] = []  # in the file, of the readouts that the system may not have yet
        try:
            self._writer.flush()
            with account_path(path).open("w" if overwrite else "x"):
                pass  # from now on it is ours
        except OSError:  # a file without its header is none
            self._close_writer()
            path.unlink()
            raise

    def _file_header(self) -> FileHeader:
        return FileHeader(self.readout_uid, self._header | {_OURS: self._ours})

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

    def was_deleted(self) -> bool:
        """Return whether somebody has deleted the file; one that was moved goes on where it is now."""
        return os.fstat(self._descriptor).st_nlink == 0

    def give_up(self) -> None:
        """Close a file that was deleted; its readouts are in no file."""
        self._close_writer()
        self.is_deleted = True
        self.not_written += self.readouts
        self.readouts = self.size = 0

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
        account = self._header | {"readout_uid": self.readout_uid, "recording": self._ours["recording"]}
        account |= self._facts
        account |= {"file": self.path.name, "readouts": self.readouts, "bytes": self.size}
        account |= {"not_written": self.not_written, "updated": _iso(now.ns), "complete": complete}
        _replace(account_path(self.path), json.dumps(account | {"stream": stream}, indent=1) + "\n")

    def write_header(self, stream: dict[str, Any], now: Moment, *, complete: bool) -> None:
        """Write the same, in short, into the file's own header, for whoever gets the file alone."""
        counts = {key: value for key, value in stream.items() if key not in _DETAILS}
        self._ours |= {"updated": _iso(now.ns), "complete": complete, "stream": counts}
        if not self._writer.update_header(self._file_header()):
            del self._ours["stream"]


def recording_of(path: Path) -> str | None:
    """Return the name of the recording that a file is a part of, as the account beside it says; else None."""
    try:
        account = json.loads(account_path(path).read_text(encoding="utf-8"))
        return str(account["recording"]) if account["file"] == path.name else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _replace(path: Path, text: str) -> None:
    """Replace a text file, so that there is a whole one at any time.

    On a full disk there is no room for the new one beside the old; then the old one's is used.
    """
    try:
        with replacement(path) as new:
            new.write_text(text, encoding="utf-8")
    except OSError:
        with path.open("r+", encoding="utf-8") as file:
            file.write(text)
            file.truncate()


def account_path(path: Path) -> Path:
    """Return where the account of a file is: run.json for run.apx."""
    return path.with_suffix(".json")


def _iso(epoch_ns: int) -> str:
    return datetime.fromtimestamp(epoch_ns / 1e9, UTC).isoformat(timespec="milliseconds")
