"""The hits of a file, or its pixels, as columns, a large piece at a time."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from astropix_stream.cli.files.reading import Reading, assumed_kind, warn_if_doubtful
from astropix_stream.cli.terminal.ending import Problem
from astropix_stream.counting.counts import Counts
from astropix_stream.errors import ConfigError
from astropix_stream.fileio import FileHeader
from astropix_stream.fmt import Kind, kind_of_class
from astropix_stream.joining import Joiner, decoded


class Hits(AbstractContextManager["Hits"], ABC):
    """The hits of a file.

    Attributes
    ----------
    kind, header
        Of the readouts.
    types
        The columns: their names, in order, and their types as NumPy writes them.
    readouts, duplicates, hits, unpaired, read_bytes
        What was read so far; `unpaired` half hits are in no pixel.
    """

    kind: Kind
    header: FileHeader

    def __init__(self, path: Path, *, pixels: bool, keep_duplicates: bool) -> None:
        self.path, self.pixels, self.keep_duplicates = path, pixels, keep_duplicates
        self.readouts = self.duplicates = self.hits = self.unpaired = self.read_bytes = 0

    @property
    def types(self) -> dict[str, str]:
        """The columns: their names, in order, and their types as NumPy writes them."""
        return self.kind.pixel_types if self.pixels else self.kind.types

    @abstractmethod
    def chunks(self) -> Iterator[Mapping[str, Any]]:
        """Iterate over columns, each as a sequence of its values."""

    @abstractmethod
    def totals(self) -> Counts:
        """Return what was counted, at the end of the file."""

    @property
    @abstractmethod
    def trouble(self) -> str:
        """What is wrong with the file, as far as it was read; empty if nothing is."""

    def account(self) -> dict[str, Any]:
        """Return what is told of the file beside its hits, at its end."""
        totals = self.totals()
        sent = totals.delivered + totals.lost
        value = {
            "file": self.path.name, "kind": self.kind.name, "readouts": self.readouts,
            "duplicates": self.duplicates, "hits": self.hits, "runs": totals.runs, "lost": totals.lost,
            "reordered": totals.reordered, "late": totals.late, "stray": totals.stray,
            "live_fraction": totals.delivered / sent if sent else 1.0,
        }  # fmt: skip
        return value | ({"half_hits_without_partner": self.unpaired} if self.pixels else {})


class _ManyHits(Hits):
    """Decodes many readouts at once."""

    def __init__(self, path: Path, kind: Kind | None, *, pixels: bool, keep_duplicates: bool) -> None:
        super().__init__(path, pixels=pixels, keep_duplicates=keep_duplicates)
        self._columns: Any = importlib.import_module("astropix_stream.columns")
        self._files: Any = importlib.import_module("astropix_stream.columns.files")
        self._pieces = self._files.Pieces(path, kind)
        self.header = self._pieces.header
        try:
            self.kind = assumed_kind(path, self.header, kind)
            if pixels and not self.kind.half_hits:
                raise ConfigError(f"{path}: --pixels: a hit of {self.kind.name} is a pixel already")
        except BaseException:
            self._pieces.close()
            raise

    def chunks(self) -> Iterator[Mapping[str, Any]]:
        """Iterate over columns."""
        decoder = self._files.PieceDecoder(self.kind, keep_duplicates=self.keep_duplicates)
        matcher = self._columns.PixelMatcher(self.kind) if self.pixels else None
        pixels = None
        for piece in self._pieces:
            if not self.readouts:
                warn_if_doubtful(self.path, self.kind, piece)
            self.readouts += len(piece)
            self.duplicates += int(piece.duplicates.sum())
            self.read_bytes = self._pieces.read_bytes
            if matcher is not None:
                found = decoder.decode(piece)
                if not self.keep_duplicates:
                    kept = ~piece.duplicates
                    found = found._replace(
                        readout_ids=found.readout_ids[kept], hit_counts=found.hit_counts[kept]
                    )
                if pixels is not None:
                    yield self._pixels(pixels.settled)
                pixels = matcher.take(found)
                self.unpaired += pixels.fresh.unpaired
            else:
                table = decoder.decode(piece, self._files.ExchangedColumns).hits
                self.hits += len(table)
                yield table.columns
        if pixels is not None:
            yield self._pixels(pixels.both)

    def _pixels(self, table: Any) -> Mapping[str, Any]:
        self.hits += len(table)
        return {name: table[name].copy() for name in self.types}

    def totals(self) -> Counts:
        """Return what was counted."""
        counts: Counts = self._pieces.totals()
        return counts

    @property
    def trouble(self) -> str:
        """What is wrong with the file."""
        return str(self._pieces.trouble)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pieces.close()


class _PlainHits(Hits):
    """Decodes readout by readout: where NumPy is not installed."""

    def __init__(self, path: Path, kind: Kind | None, *, keep_duplicates: bool) -> None:
        super().__init__(path, pixels=False, keep_duplicates=keep_duplicates)
        self._reading = Reading(path, kind)
        self.header = self._reading.header
        self.kind = kind_of_class(self._reading.readout_class(kind))

    def chunks(self) -> Iterator[Mapping[str, Any]]:
        """Iterate over columns."""
        joiner = Joiner()
        for stored in self._reading.batches():
            batch = stored if self.keep_duplicates else stored.without_duplicates()
            self.readouts += len(stored)
            self.duplicates += sum(stored.duplicates)
            self.read_bytes += len(stored.payload)
            readouts = self.kind.readout_class.from_payload(
                batch.payload, batch.ends, batch.readout_ids, batch.timestamps
            )
            done = decoded(readouts, joiner, batch.run_starts, batch.duplicates)
            rows = [hit.attribute_values() for readout in done for hit in readout.hits()]
            self.hits += len(rows)
            yield dict(zip(self.types, zip(*rows, strict=True), strict=True)) if rows else {}

    def totals(self) -> Counts:
        """Return what was counted."""
        return self._reading.sequence.totals()

    @property
    def trouble(self) -> str:
        """What is wrong with the file."""
        return self._reading.trouble

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.__exit__(kind, error, trace)


def open_hits(path: Path, kind: Kind | None, *, pixels: bool = False, keep_duplicates: bool = False) -> Hits:
    """Open a file of readouts for its hits.

    Parameters
    ----------
    path
        The file.
    kind
        What a person says that the readouts are; None believes the file.
    pixels
        Give pixels, which are matched of half hits, in place of these.
    keep_duplicates
        Keep the hits of readouts that came before.

    Raises
    ------
    FormatError, OSError
        It is no file of readouts of a known kind, or cannot be read.
    ConfigError
        There are no half hits to match.
    Problem
        Pixels need NumPy, and it is not installed.
    """
    try:
        importlib.import_module("numpy")
    except ImportError:
        if pixels:
            raise Problem("--pixels needs NumPy: pip install 'astropix-stream[convert]'") from None
        return _PlainHits(path, kind, keep_duplicates=keep_duplicates)
    return _ManyHits(path, kind, pixels=pixels, keep_duplicates=keep_duplicates)
