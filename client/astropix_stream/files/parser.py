"""What the parsers of all formats share. Pure."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from astropix_stream.file_body import Complaints
from astropix_stream.file_header import FileHeader


class Found(NamedTuple):
    """A readout that was found in a file."""

    raw: bytes
    """Its exact bytes as a datagram."""
    readout_id: int
    timestamp: int
    """ns since the Unix epoch; 0 where the format has none."""
    begin: int
    """Where in the file the bytes begin that it was made of."""
    end: int
    """Where they end."""


class Parser(ABC):
    """Finds the readouts in the bytes of a file, which come in pieces of any size.

    Attributes
    ----------
    header : FileHeader or None
        What the file says of its readouts; None until that has been read.
    offset : int
        Where in the file the first byte stands that has not been given out as part of a readout, or skipped.
    complaints : Complaints
        What could not be read. It is skipped.
    """

    def __init__(self, offset: int = 0) -> None:
        self.header: FileHeader | None = None
        self.offset = offset
        self.complaints = Complaints()
        self._buffer = b""

    @property
    def leftover_bytes(self) -> int:
        """Bytes that wait for what follows them."""
        return len(self._buffer)

    @property
    def skipping(self) -> str:
        """What cannot be read and where, while it is being skipped; empty otherwise."""
        return ""

    @property
    def pending(self) -> bool:
        """Whether `flush` would give a readout now."""
        return False

    @abstractmethod
    def feed(self, data: bytes) -> list[Found]:
        """Take the bytes that follow; return the readouts that are whole now."""

    def flush(self) -> list[Found]:
        """Return what is whole, and was held back to be given together with what follows."""
        return []

    def finish(self) -> list[Found]:
        """Return what can be made of the rest: nothing follows. What cannot stays in `leftover_bytes`."""
        return self.flush()
