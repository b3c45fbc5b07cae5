"""Read a file that grows, as ``tail -F`` does; or the newest file of a folder, and then each newer one.

A thin shell around the parsers. It opens files for reading only, and takes no lock: whoever writes them does
not notice. `Follower.poll` never waits; whoever calls it rests for `REST_S` when there was nothing.
"""

import contextlib
import hashlib
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from astropix_stream.errors import FormatError
from astropix_stream.file_header import MAGIC, NOT_APX, FileHeader
from astropix_stream.files import formats
from astropix_stream.files.apx import ApxParser
from astropix_stream.files.formats import Format
from astropix_stream.files.frames import FrameParser
from astropix_stream.files.parser import Found, Parser
from astropix_stream.files.reading import frame_kind, make_parser
from astropix_stream.files.text_log import LogParser
from astropix_stream.fmt import HEADER, HEADER_SIZE, Kind
from astropix_stream.fmt import MAGIC as READOUT_MAGIC

REST_S = 0.01
GROUP_S = 0.02  # for which frames of a .bin file wait for others
BLOCK = 1 << 16  # bytes read at a time
_LOOK_BACK = 1 << 16  # bytes before the end of a .bin file, to find where a frame begins
_RESCAN_S = 1.0  # of a folder whose time of change has not moved: it is coarser than files can be made
_SAME = 64  # first bytes of a file that tell whether it is the same one still

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file has been read; what another process needs to go on there.

    Attributes
    ----------
    device, inode
        Which file it is, whatever its name is now.
    head
        A digest of its first bytes, up to `_SAME` of those before `offset`: inodes are used again.
    offset
        Everything before it was given out.
    next_id
        The readout_id of the next readout, where the file has none.
    """

    device: int
    inode: int
    head: str
    offset: int
    next_id: int = 0


class Follower:
    """Gives the readouts that are appended to a file.

    Parameters
    ----------
    path
        The file, which need not be there yet; or a folder, in which the newest file is meant whose name ends
        in .apx, .log or .bin.
    kind
        What a person says that the readouts are; None believes the file.
    from_end
        Leave out what the file holds now; newer files are read from their beginning.
    resume
        Go on there, if that file is still to be found beside `path`; what it is called does not matter.

    Attributes
    ----------
    name : Path or None
        The file that is being read.
    behind : bool
        Whether more is there than was read: poll again at once.
    files : int
        How often reading has begun at the beginning of a file, or gone on in one.
    """

    def __init__(
        self, path: Path, kind: Kind | None = None, *, from_end: bool = False, resume: Position | None = None
    ) -> None:
        self.path, self._kind = path, kind
        self.name: Path | None = None
        self.behind = False
        self._file: IO[bytes] | None = None
        self._parser: Parser | None = None
        self._form: Format | None = None
        self.files = 0
        self._identity = (0, 0)
        self._head = b""
        self._read = 0  # bytes of the file
        self._skip_until = 0
        self._from_end = from_end
        self._waiting_since_s: float | None = None  # the oldest frames that wait for others
        self._known: set[tuple[int, int]] = set()
        self._newer: list[Path] = []
        self._scanned: tuple[int, float] | None = None
        if resume is not None:
            self._resume(resume)

    @property
    def header(self) -> FileHeader | None:
        """What the file says of its readouts; None until it has been read."""
        return None if self._parser is None else self._parser.header

    @property
    def form(self) -> Format | None:
        """The format of the file; None until it is known."""
        return self._form

    @property
    def begins(self) -> Position | None:
        """Where the next readout begins; None as long as what is to be left out is being read."""
        if self._file is None or self._skip_until:
            return None
        return self.position(0 if self._parser is None else self._parser.offset, 0)

    def position(self, offset: int, next_id: int) -> Position:
        """Return the position at which the bytes up to `offset` of the file that is being read are done."""
        return Position(*self._identity, _digest(self._head, offset), offset, next_id & 0xFFFFFFFF)

    def poll(self) -> list[Found]:
        """Return the readouts that are whole now; an empty list does not mean that nothing more is there.

        A readout of a format without timestamps gets the time now.

        Raises
        ------
        FormatError
            The file is of no format with readouts, or its header is damaged.
        OSError
            It cannot be read.
        """
        if self._file is None and not self._open_first():
            self.behind = False
            return []
        data = self._read_block()
        self.behind = bool(data)
        found = self._take(data) if data else self._at_end()
        return [self._stamped(each) for each in found + self._due()]

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None

    # The bytes

    def _read_block(self) -> bytes:
        assert self._file is not None
        left = self._skip_until - self._read
        data = self._file.read(min(BLOCK, left) if left > 0 else BLOCK) or b""
        self._read += len(data)
        return data

    def _take(self, data: bytes) -> list[Found]:
        if len(self._head) < formats.LOOK and self._read - len(data) == len(self._head):
            self._head += data[: formats.LOOK - len(self._head)]
        if self._parser is None:
            if not self._recognise():
                return []
            data = self._all_read()
        assert self._parser is not None
        complaints, skipping = self._parser.complaints.count, self._parser.skipping
        found = self._parser.feed(data)
        if self._parser.complaints.count > complaints:
            _log.warning("%s: skipped what cannot be read: %s", self.name, self._parser.complaints)
        if self._parser.skipping and not skipping:
            _log.warning("%s: %s; skipping what follows, up to a readout", self.name, self._parser.skipping)
        if self._skip_until:
            found = self._skip(found)
        return found

    def _skip(self, found: list[Found]) -> list[Found]:
        """Leave out what was there before."""
        until = self._skip_until
        if self._read >= until:
            self._skip_until = 0
            if self._parser is not None:
                found += self._parser.flush()
        new = [each for each in found if each.end > until]
        if isinstance(self._parser, FrameParser) and not new:
            self._parser.next_id = 0
        return new

    def _recognise(self) -> bool:
        """Make the parser, once the first bytes tell which format it is."""
        form = tell_growing(self._head, self.name.suffix if self.name else "", frame_kind(self._kind))
        if form is None:
            if len(self._head) >= formats.LOOK:
                raise FormatError(f"{self.name}: not an .apx file, a text log or frames of an A-STEP")
            return False
        self._form, self._parser = form, make_parser(form, self._kind)
        return True

    def _all_read(self) -> bytes:
        """Return what was read before the format was known; the file stands behind it."""
        assert self._file is not None
        begin = 0
        if self._form is Format.BIN and self._skip_until > _LOOK_BACK:
            begin = self._skip_until - _LOOK_BACK
            self._parser = FrameParser(frame_kind(self._kind), begin)
        self._file.seek(begin)
        self._read = max(self._read, begin)
        data = self._file.read(self._read - begin) if begin == 0 else b""
        self._read = begin + len(data)
        return data

    def _due(self) -> list[Found]:
        """Return the frames that have waited for others long enough."""
        parser = self._parser
        half = isinstance(parser, FrameParser) and parser.leftover_bytes > 0
        if parser is None or not (parser.pending or half):
            self._waiting_since_s = None
            return []
        now_s = time.monotonic()
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        if now_s - self._waiting_since_s < GROUP_S:
            return []
        self._waiting_since_s = None
        return parser.flush()

    def _stamped(self, found: Found) -> Found:
        if self._form is Format.APX:
            return found
        now_ns = time.time_ns()
        return found._replace(raw=stamp(found.raw, found.readout_id, now_ns), timestamp=now_ns)

    # The files

    def _at_end(self) -> list[Found]:
        """Look whether the file was cut, or another has taken its place."""
        assert self._file is not None
        if os.fstat(self._file.fileno()).st_size < self._read:
            _log.warning("%s was truncated: reading it from its beginning", self.name)
            self._begin(self._file)
            self._file.seek(0)
            self.behind = True
            return []
        successor = self._successor()
        if successor is None:
            return []
        if data := self._read_block():  # written while we looked
            self.behind = True
            return self._take(data)
        rest = self._finish()
        if rest:  # given with the old file's position; the next call goes on
            return rest
        self._open(successor)
        return []

    def _finish(self) -> list[Found]:
        """Return what the old file still holds."""
        if self._parser is None:
            return []
        rest = self._parser.finish()
        left = self._parser.leftover_bytes
        if not rest and left:
            _log.warning("%s: ends in the middle of a readout, %d bytes left over", self.name, left)
        return rest

    def _successor(self) -> Path | None:
        """Return the file to go on with, once something is in it: till then the old may still be written."""
        if self._newer or self._is_folder():
            self._scan()
            while self._newer:
                with contextlib.suppress(OSError):
                    return self._newer[0] if self._newer[0].stat().st_size else None
                self._newer.pop(0)  # it was removed
            return None
        try:
            there = self.path.stat()
        except OSError:
            return None
        return self.path if _identity(there) != self._identity and there.st_size else None

    def _is_folder(self) -> bool:
        return self.path.is_dir()

    def _open_first(self) -> bool:
        path: Path | None = self.path
        if self._is_folder():
            self._scan()
            path = self._newer.pop() if self._newer else None
            self._newer.clear()
        if path is None:
            self._from_end = False
            return False
        try:
            self._open(path)
        except FileNotFoundError:
            self._from_end = False  # all of what it will hold is new
            return False
        assert self._file is not None
        if self._from_end:
            self._skip_until = os.fstat(self._file.fileno()).st_size
            self._from_end = False
        return True

    def _open(self, path: Path) -> None:
        # Not O_NONBLOCK: no pipes here. Opened for reading only.
        file = open(path, "rb", buffering=0)  # noqa: SIM115  (close() closes it)
        before = self.name
        self._newer = [newer for newer in self._newer if newer != path]
        self.close()
        self._file, self.name = file, path
        there = os.fstat(file.fileno())
        self._identity = _identity(there)
        self._known.add(self._identity)
        self._begin(file)
        self.behind = True
        _log.info("following %s", path if before is None or path != before else f"the new {path}")

    def _begin(self, file: IO[bytes]) -> None:
        self._file = file
        self.files += 1
        self._parser = self._form = None
        self._head = b""
        self._read = self._skip_until = 0
        self._waiting_since_s = None

    def _scan(self) -> None:
        """Note the files of the folder that are new since the last look, the oldest first."""
        changed_ns = self.path.stat().st_mtime_ns
        now_s = time.monotonic()
        if self._scanned and self._scanned[0] == changed_ns and now_s - self._scanned[1] < _RESCAN_S:
            return
        self._scanned = (changed_ns, now_s)
        found = [entry for entry in _files(self.path) if entry[2] not in self._known]
        self._known.update(identity for _, _, identity in found)
        self._newer += [path for _, path, _ in sorted(found)]

    # Going on where another process was

    def _resume(self, position: Position) -> None:
        folder = self.path if self._is_folder() else self.path.parent
        wanted = (position.device, position.inode)
        if not self._is_folder() and self._resume_in(self.path, position):
            return
        for _, path, identity in sorted(_files(folder, any_name=not self._is_folder())):
            if identity == wanted and self._resume_in(path, position):
                break
        else:
            _log.warning("the followed file has disappeared from %s", folder)
            return
        if self._is_folder():
            there = os.stat(path).st_mtime_ns
            older = [each for each in _files(folder) if (each[0], each[1]) < (there, path)]
            self._known.update(identity for _, _, identity in older)

    def _resume_in(self, path: Path, position: Position) -> bool:
        try:
            there = path.stat()
        except OSError:
            return False
        if _identity(there) != (position.device, position.inode):
            return False
        with open(path, "rb", buffering=0) as file:
            head = file.read(formats.LOOK)
        if there.st_size < position.offset or _digest(head, position.offset) != position.head:
            _log.warning("%s is no longer the file that was followed: reading it from its beginning", path)
            return False
        self._open(path)
        assert self._file is not None
        if position.offset == 0:
            return True
        self._head = head
        self._form = tell_growing(head, path.suffix, frame_kind(self._kind)) or Format.BIN
        self._parser = _parser_at(self._form, self._kind, position, self._file)
        self._file.seek(position.offset)
        self._read = position.offset
        return True

    def read_again(self, begin: int, end: int, readout_id: int, timestamp: int) -> bytes | None:
        """Make a readout again that was made of these bytes of the file; None if that does not work."""
        assert self._file is not None
        chunk = os.pread(self._file.fileno(), end - begin, begin)
        if len(chunk) < end - begin:
            return None
        if self._form is Format.BIN:
            return HEADER.pack(READOUT_MAGIC, readout_id, timestamp, len(chunk)) + chunk
        parser: Parser = LogParser(self._kind) if self._form is Format.LOG else ApxParser(begin, self.header)
        found = [*parser.feed(chunk), *parser.finish()]
        return stamp(found[0].raw, readout_id, timestamp) if len(found) == 1 else None


def stamp(raw: bytes, readout_id: int, timestamp: int) -> bytes:
    """Return a readout with another timestamp (ns), its data untouched."""
    return HEADER.pack(READOUT_MAGIC, readout_id, timestamp, len(raw) - HEADER_SIZE) + raw[HEADER_SIZE:]


def tell_growing(head: bytes, suffix: str, kind: Kind) -> Format | None:
    """Tell the format of a file of which more may come; None as long as its first bytes leave a doubt.

    Raises
    ------
    FormatError
        It is called .apx and is none.
    """
    if not head or (len(head) < len(MAGIC) and MAGIC.startswith(head)):
        return None
    suffix = suffix.lower()
    text = formats.is_text(head)
    if text and suffix != Format.LOG.value and len(head) < _SAME:
        return None  # a few bytes may look like text
    form = formats.tell_format(head, suffix, kind)
    if form is None and suffix == Format.APX.value:
        raise FormatError(NOT_APX, offset=0)
    return form


def _parser_at(form: Format, kind: Kind | None, position: Position, file: IO[bytes]) -> Parser:
    if form is Format.APX:
        header = None
        with contextlib.suppress(FormatError):  # one of a kind that a person says
            header = FileHeader.from_file(file)
        return ApxParser(position.offset, header)
    if form is Format.LOG:
        return LogParser(kind, position.offset)
    return FrameParser(frame_kind(kind), position.offset, position.next_id)


def _identity(there: os.stat_result) -> tuple[int, int]:
    return there.st_dev, there.st_ino


def _digest(head: bytes, offset: int) -> str:
    return hashlib.sha256(head[: min(_SAME, offset)]).hexdigest()[:16]


def _files(folder: Path, *, any_name: bool = False) -> list[tuple[int, Path, tuple[int, int]]]:
    """Return when each file of a folder was changed (ns), its path and its identity."""
    endings = tuple(form.value for form in Format)
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not any_name and (entry.name.startswith(".") or not entry.name.lower().endswith(endings)):
                continue
            with contextlib.suppress(OSError):  # it was removed
                there = entry.stat()
                if entry.is_file():
                    found.append((there.st_mtime_ns, Path(entry.path), _identity(there)))
    return found
