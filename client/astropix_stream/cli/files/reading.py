"""Read what is whole in a file of readouts, and remember what is wrong with it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import accumulate, islice
from pathlib import Path
from types import TracebackType
from typing import Any

from astropix_stream import fitting
from astropix_stream.batch import Batch
from astropix_stream.cli.files.sequence import Sequence
from astropix_stream.cli.terminal import ending
from astropix_stream.errors import FormatError
from astropix_stream.fileio import FileHeader
from astropix_stream.files import describe_damage, open_readouts
from astropix_stream.fmt import Kind, Readout, kind_of_class
from astropix_stream.wire import NO_SOURCE

_AT_ONCE = 4096  # readouts in a batch
_LOOKED_AT = 1000  # readouts, of which those with data tell whether they are of the kind that is said


class Reading(AbstractContextManager["Reading"]):
    """An open file of readouts, whose iterators leave out what is damaged.

    Parameters
    ----------
    path
        The file; ``-`` is standard input.
    kind
        What a person says that the readouts are; None believes the file.

    Raises
    ------
    FormatError, OSError
        As `open_readouts` does: not a file of readouts, or not readable.

    Attributes
    ----------
    sequence
        What `batches` has counted: runs, what is missing, duplicates.
    """

    def __init__(self, path: Path, kind: Kind | None = None) -> None:
        self.path = path
        self._reader = open_readouts(path, kind)
        self.header = self._reader.header
        self.sequence = Sequence()

    def readout_class(self, kind: Kind | None = None) -> type[Readout[Any]]:
        """Return the class to decode the readouts with; warn if the file does not say it.

        Parameters
        ----------
        kind
            What a person says that they are; None believes the file.

        Raises
        ------
        FormatError
            There is no class for what the file says.
        """
        return assumed_kind(self.path, self.header, kind).readout_class

    def datagrams(self) -> Iterator[tuple[bytes, int, int]]:
        """Iterate over the bytes of the whole readouts, their readout_ids and timestamps (ns)."""
        return self._reader.datagrams()

    def batches(self) -> Iterator[Batch]:
        """Iterate over the readouts as batches that tell where runs begin and which are duplicates."""
        datagrams = self.datagrams()
        while readouts := list(islice(datagrams, _AT_ONCE)):
            raws, readout_ids, timestamps = map(list, zip(*readouts, strict=True))
            ends = list(accumulate(map(len, raws)))
            batch = Batch(NO_SOURCE, timestamps[0], b"".join(raws), readout_ids, timestamps, ends)
            self.sequence.note(batch)
            yield batch

    @property
    def leftover_bytes(self) -> int:
        """Bytes of an incomplete readout at the end."""
        return self._reader.leftover_bytes

    @property
    def further_headers(self) -> list[tuple[int, FileHeader]]:
        """Headers of other files within this one, and where each is."""
        return self._reader.further_headers

    @property
    def trouble(self) -> str:
        """What is wrong with the file, as far as it was read; empty if nothing is."""
        return describe_damage(self.path, self._reader)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()


def assumed_kind(path: Path, header: FileHeader, kind: Kind | None = None) -> Kind:
    """Return the kind that a person says, or the file; say so where these differ, or the file is silent.

    Raises
    ------
    FormatError
        There is no class for what the file says.
    """
    if kind is not None:
        if header.damage:
            ending.log.warning("%s: %s; the readouts are taken for %s", path, header.damage, kind)
        if kind.uid != header.readout_uid and not header.is_assumed:
            said = fitting.describe(header.readout_uid)
            ending.log.warning("%s: the header says %s; taken for %s, as --kind says", path, said, kind)
        return kind
    if header.is_assumed:
        ending.log.warning(
            "%s: the header does not say the kind of readouts; taken for AstroPix 4 (4000)", path
        )
    try:
        return kind_of_class(header.readout_class())
    except FormatError as error:
        raise FormatError(f"{path}: {error}; say with --kind what to take them for") from None


def warn_if_doubtful(path: Path, kind: Kind, piece: Any) -> None:
    """Say so if the first readouts of a file, a `columns.files.Piece`, do not look like a kind."""
    doubt = fitting.Doubt()
    for i in range(min(len(piece), _LOOKED_AT)):
        if doubt.note(piece.readouts.at(i, kind)):
            ending.log.warning("%s: %s", path, doubt.text)
        if not doubt.open:
            return
