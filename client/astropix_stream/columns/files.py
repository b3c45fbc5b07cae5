"""The readouts of a file, a large piece at a time."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astropix_stream.columns.decoder import hit_dtype
from astropix_stream.columns.decoding import Counted, Decoded, count_found, decode_found
from astropix_stream.columns.finding import Readouts, find_readouts, find_whole
from astropix_stream.columns.tracking import Tracking
from astropix_stream.counting.counts import Counts
from astropix_stream.errors import FormatError
from astropix_stream.file_body import FileBody, is_certain
from astropix_stream.file_header import FileHeader
from astropix_stream.fileio import ApxReader
from astropix_stream.files import describe_damage, open_readouts
from astropix_stream.fmt import HEADER_SIZE, Kind, Readout, kind_of_class
from astropix_stream.joining import Following, Joiner

PIECE = 2 << 20  # bytes; decoding takes some 15 times as much memory


class Piece(NamedTuple):
    """Readouts that follow one another in a file, at least one."""

    readouts: Readouts
    run_starts: frozenset[int]
    """Positions at which a run begins."""
    duplicates: NDArray[np.bool_]
    """A mask: those that came before."""

    def __len__(self) -> int:
        return len(self.readouts.ids)


class Pieces(AbstractContextManager["Pieces"]):
    """An open file that is read a piece at a time; what is damaged is left out.

    Parameters
    ----------
    path
        A file of any format that `files.open_readouts` knows.
    kind
        What a person says that the readouts are; None believes the file.
    size
        Bytes read at once.

    Raises
    ------
    FormatError, OSError
        As `files.open_readouts` does: of no such format, or not readable.

    Attributes
    ----------
    header : FileHeader
        The file's header.
    read_bytes : int
        Bytes of the body that were read so far.
    leftover_bytes : int
        Bytes of an incomplete readout at the end.
    """

    def __init__(self, path: str | os.PathLike[str], kind: Kind | None = None, size: int = PIECE) -> None:
        self._reader = open_readouts(path, kind)
        self._size = size
        self._tracking = Tracking()
        self.path = os.fspath(path)
        self.header: FileHeader = self._reader.header
        self._body = self._reader.body if isinstance(self._reader, ApxReader) else FileBody(0)
        self.read_bytes = 0
        self.leftover_bytes = 0

    def __iter__(self) -> Iterator[Piece]:
        for block in self._blocks():
            self.read_bytes += len(block)
            yield from self._pieces_of(self._find(block))
        yield from self._pieces_of(_joined(self._body.finish()))
        self.leftover_bytes = len(self._body.rest) + self._reader.leftover_bytes

    def _blocks(self) -> Iterator[bytes]:
        reader = self._reader
        return reader.blocks(self._size) if isinstance(reader, ApxReader) else reader.batches()

    def _find(self, block: bytes) -> Readouts:
        """Find the readouts that are whole with the next block: all at once, or one by one around damage."""
        body = self._body
        if not body.skipping:
            raw = body.rest + block
            readouts, damage = find_whole(raw)
            if damage is None:
                readouts = _certain(readouts)
                end = int(readouts.begins[-1])
                body.pass_over(end, raw[end:])
                return readouts
        return _joined(body.feed(block))

    def _pieces_of(self, readouts: Readouts) -> Iterator[Piece]:
        if len(readouts.ids):
            starts, duplicates = self._tracking.note(readouts)
            yield Piece(readouts, frozenset(starts), duplicates)

    @property
    def damage(self) -> FormatError | None:
        """About the first bytes of an .apx file that had to be skipped; `trouble` tells all."""
        error = self._body.damage
        return error and FormatError(f"{self.path}: {error}", offset=error.offset, reason=error.reason)

    @property
    def further_headers(self) -> list[tuple[int, FileHeader]]:
        """Headers of other files within this one, and where each is."""
        return self._reader.further_headers

    @property
    def trouble(self) -> str:
        """What is wrong with the file, as far as it was read; empty if nothing is."""
        return describe_damage(self.path, self._reader, self.leftover_bytes)

    def totals(self) -> Counts:
        """Return what was counted, at the end of the file."""
        return self._tracking.totals()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._reader.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _certain(readouts: Readouts) -> Readouts:
    """Leave out the last readout if the magic occurs in its data: what follows it decides (`file_body`)."""
    if len(readouts.ids):
        last, end = readouts.begins[-2:].tolist()
        if not is_certain(readouts.raw, last + HEADER_SIZE, end):
            return Readouts(readouts.raw, readouts.begins[:-1], readouts.ids[:-1], readouts.timestamps[:-1])
    return readouts


def _joined(readouts: Iterable[tuple[bytes, int, int]]) -> Readouts:
    return find_readouts(b"".join(raw for raw, _, _ in readouts))


class ExchangedColumns:
    """A table of the types that are exchanged (`Kind.types`), a contiguous array for each column.

    It takes the place of a structured array where columns are written to a file. Only `decoding_order` is
    wider: it must hold that of the largest readout, and whoever writes it says what becomes of more than 255.
    """

    def __init__(self, kind: Kind, count: int) -> None:
        self.columns: dict[str, NDArray[Any]] = {
            name: np.empty(count, "u4" if name == "decoding_order" else type_)
            for name, type_ in kind.types.items()
        }
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __setitem__(self, name: str, values: NDArray[Any]) -> None:
        self.columns[name][...] = values

    def __getitem__(self, which: Any) -> Any:
        """Return a column; or, for a mask, a table of those rows."""
        if isinstance(which, str):
            return self.columns[which]
        kept = object.__new__(ExchangedColumns)
        kept.columns = {name: column[which] for name, column in self.columns.items()}
        kept._count = int(np.count_nonzero(which))
        return kept


class PieceDecoder:
    """Decodes the pieces of a file in their order; hits that are split between pieces are put together.

    Parameters
    ----------
    kind
        What the readouts are.
    keep_duplicates
        Keep the hits of readouts that came before.
    """

    def __init__(self, kind: Kind, *, keep_duplicates: bool = False) -> None:
        self.kind = kind
        self._keep_duplicates = keep_duplicates
        self._joiner = Joiner()

    def count(self, piece: Piece) -> Counted:
        """Count hits; of duplicates that are left out, none, and their status is 0."""
        counted = count_found(piece.readouts, self.kind, self._follow(piece))
        if not self._keep_duplicates and piece.duplicates.any():
            counted.hit_counts[piece.duplicates] = 0
            counted.statuses[piece.duplicates] = 0
        return counted

    def decode(self, piece: Piece, make_table: Callable[[Kind, int], Any] | None = None) -> Decoded:
        """Decode; `make_table` is that of `decode_found`, and its table is indexed by a mask of hits.

        `Decoded.hit_counts` are 0 for duplicates that are left out.
        """
        decoded = decode_found(piece.readouts, self.kind, self._follow(piece), make_table)
        if self._keep_duplicates or not piece.duplicates.any():
            return decoded
        kept = np.repeat(~piece.duplicates, decoded.hit_counts)
        return decoded._replace(
            hits=decoded.hits[kept], hit_counts=np.where(piece.duplicates, 0, decoded.hit_counts)
        )

    def _follow(self, piece: Piece) -> Following:
        duplicates = piece.duplicates.tobytes() if piece.duplicates.any() else b""
        return Following(self._joiner, piece.run_starts, duplicates)


def columns(
    path: str | os.PathLike[str],
    kind: Kind | type[Readout[Any]] | None = None,
    *,
    keep_duplicates: bool = False,
) -> NDArray[Any]:
    """Read all hits of a file.

    Parameters
    ----------
    path
        The file, ``.apx``, ``.log`` or ``.bin``, of any kind of readouts.
    kind : Kind or class of readouts, optional
        What the readouts are; by default what the header says.
    keep_duplicates
        Keep the hits of readouts that came before, byte for byte. By default they are left out.

    Returns
    -------
    ndarray
        Structured array of `hit_dtype`, some 100 bytes a hit: ``pandas.DataFrame(columns("run.apx"))`` has a
        column for each field. Hits that were split between two readouts are put together.

    Raises
    ------
    FormatError
        If it is of no such format, or is damaged (`Pieces` leaves out what is, and goes on); or there is no
        class for the kind that the header says.
    OSError
        If it cannot be read.

    Notes
    -----
    A file that ends within a readout gives the hits of all that are whole.

    Examples
    --------
    >>> from astropix_stream.columns import columns
    >>> hits = columns("run.apx")  # doctest: +SKIP
    >>> hits["tot_us"].mean()  # doctest: +SKIP
    """
    if kind is not None and not isinstance(kind, Kind):
        kind = kind_of_class(kind)
    with Pieces(path, kind) as pieces:
        if kind is None:
            kind = kind_of_class(pieces.header.readout_class())
        decoder = PieceDecoder(kind, keep_duplicates=keep_duplicates)
        chunks = [decoder.decode(piece).hits for piece in pieces]
        if pieces.damage:
            raise pieces.damage
    return np.concatenate(chunks) if chunks else np.empty(0, hit_dtype(kind))
