"""The readouts of an .apx file as it grows. Pure."""

import io

from astropix_stream.file_body import FileBody
from astropix_stream.file_header import LENGTH, MAGIC, MAX_HEADER, FileHeader
from astropix_stream.files.parser import Found, Parser

_START = len(MAGIC) + LENGTH.size


class ApxParser(Parser):
    """Finds the readouts of an .apx file.

    Parameters
    ----------
    offset
        Where in the file the bytes begin that it will get; at 0 there is the file's header.
    header
        The file's header, if the bytes begin behind it and it is known.
    """

    def __init__(self, offset: int = 0, header: FileHeader | None = None) -> None:
        super().__init__(offset)
        self.header = header
        self._body: FileBody | None = None
        if offset:
            self._begin_body(offset)

    @property
    def leftover_bytes(self) -> int:
        """Bytes that wait for what follows them."""
        return len(self._buffer) if self._body is None else len(self._body.rest)

    @property
    def skipping(self) -> str:
        """Why bytes are being skipped; empty if they are not."""
        return "" if self._body is None else self._body.skipping

    def feed(self, data: bytes) -> list[Found]:
        """Take the bytes that follow; return the readouts that are whole now.

        Raises
        ------
        FormatError
            The header of the file is damaged.
        """
        if self._body is None:
            data = self._buffer = self._buffer + data
            if not self._take_header():
                return []
            data, self._buffer = data[self.offset :], b""
        return self._found(data)

    def finish(self) -> list[Found]:
        """Return what can be made of the rest: nothing follows. What cannot stays in `leftover_bytes`."""
        return [] if self._body is None else self._found(None)

    def _take_header(self) -> bool:
        buffer = self._buffer
        if len(buffer) < _START:
            return False
        (length,) = LENGTH.unpack_from(buffer, len(MAGIC))
        size = _START + length
        if length <= MAX_HEADER and len(buffer) < size and buffer.startswith(MAGIC):
            return False
        self.header = FileHeader.from_file(io.BytesIO(buffer[:size]))
        self._begin_body(size)
        return True

    def _begin_body(self, offset: int) -> None:
        self.offset = offset
        uid = None if self.header is None else self.header.readout_uid
        self._body = FileBody(offset, uid, grows=True)
        self.complaints = self._body.complaints

    def _found(self, data: bytes | None) -> list[Found]:
        """Return the readouts that are whole with more bytes, or, without any, at the end."""
        body = self._body
        assert body is not None
        readouts = body.finish() if data is None else body.feed(data)
        found = [Found(*readout, body.end - len(readout[0]), body.end) for readout in readouts]
        self.offset = body.offset
        return found
