"""Copy the readouts of a file of any format to an .apx file, byte for byte."""

from pathlib import Path

from astropix_stream.cli.files.reading import assumed_kind
from astropix_stream.fileio import ApxWriter, FileHeader
from astropix_stream.files import describe_damage, open_readouts
from astropix_stream.fmt import Kind


def copy_readouts(source: Path, target: Path, kind: Kind | None) -> tuple[int, str]:
    """Write the readouts of a file to an .apx file.

    Parameters
    ----------
    source, target
        The files; the target is overwritten.
    kind
        What a person says that the readouts are; None believes the file.

    Returns
    -------
    readouts : int
        How many were written.
    trouble : str
        What is wrong with the source; empty if nothing is.

    Raises
    ------
    FormatError, OSError
        The source is no file of readouts, or a file cannot be read or written.
    """
    count = 0
    with open_readouts(source, kind) as reader:
        uid = kind.uid if kind is not None else reader.header.readout_uid
        if reader.header.is_assumed or reader.header.damage:
            assumed_kind(source, reader.header, kind)
        with ApxWriter(target, FileHeader(uid, reader.header), overwrite=True) as writer:
            for raw, _, _ in reader.datagrams():
                writer.write(raw)
                count += 1
    return count, describe_damage(source, reader)
