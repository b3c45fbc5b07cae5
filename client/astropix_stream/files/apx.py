"""The body of an .apx file as it grows. Pure.

What is not a readout is skipped, up to the next header of one: a file that is being followed has to go on.
"""

import io

from astropix_stream.errors import FormatError
from astropix_stream.fileio import LENGTH, MAGIC, MAX_HEADER, FileHeader
from astropix_stream.files.parser import Found, Parser
from astropix_stream.fmt import HEADER_SIZE, parse_header
from astropix_stream.fmt import MAGIC as READOUT_MAGIC

_START = len(MAGIC) + LENGTH.size


class ApxParser(Parser):
    """Finds the readouts of an .apx file.

    Parameters
    ----------
    offset
        Where in the file the bytes begin that it will get; at 0 there is the file's header.
    """

    def __init__(self, offset: int = 0) -> None:
        super().__init__(offset)
        self._in_header = offset == 0

    def feed(self, data: bytes) -> list[Found]:
        """Take the bytes that follow; return the readouts that are whole now.

        Raises
        ------
        FormatError
            The header of the file is damaged.
        """
        self._buffer += data
        if self._in_header and not self._take_header():
            return []
        return self._take_readouts()

    def _take_header(self) -> bool:
        buffer = self._buffer
        if len(buffer) < _START:
            return False
        (length,) = LENGTH.unpack_from(buffer, len(MAGIC))
        size = _START + length
        if length <= MAX_HEADER and len(buffer) < size and buffer.startswith(MAGIC):
            return False
        self.header = FileHeader.from_file(io.BytesIO(buffer[:size]))
        self._in_header = False
        self._drop(size)
        return True

    def _take_readouts(self) -> list[Found]:
        found: list[Found] = []
        buffer, at, base = self._buffer, 0, self.offset
        size = len(buffer)
        while (begin := at + HEADER_SIZE) <= size:
            try:
                readout_id, timestamp, length = parse_header(buffer, at)
            except FormatError as error:
                self.complaints.add(f"not a readout at byte {base + at}: {error}")
                at = _next_header(buffer, at + 1)
                continue
            if (end := begin + length) > size:
                break
            found.append(Found(buffer[at:end], readout_id, timestamp, base + at, base + end))
            at = end
        self._drop(at)
        return found

    def _drop(self, size: int) -> None:
        self._buffer = self._buffer[size:]
        self.offset += size


def _next_header(buffer: bytes, at: int) -> int:
    """Return where the next header of a readout may begin; at the latest, where too few bytes are left."""
    found = buffer.find(READOUT_MAGIC, at)
    return found if found >= 0 else max(at, len(buffer) - len(READOUT_MAGIC) + 1)
