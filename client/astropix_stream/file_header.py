"""The header of an .apx file: what a run's readouts are, and how they were taken. Pure.

======  ======  =========================================================================
offset  size    field
======  ======  =========================================================================
0       6       magic ``%APXDF``
6       4       length of the JSON, u32, little-endian
10      length  a JSON object in UTF-8 with the key ``readout_uid`` and any others
======  ======  =========================================================================
"""

import json
import struct
from collections.abc import Iterator, Mapping
from typing import IO, Any, Self

from astropix_stream.errors import FormatError
from astropix_stream.fmt import Readout, uid_to_readout_class

MAGIC = b"%APXDF"
NOT_APX = f"not an .apx file: it does not begin with {MAGIC.decode()}"
LENGTH = struct.Struct("<I")
JSON_AT = len(MAGIC) + LENGTH.size
MAX_HEADER = 1 << 24  # bytes; those of real runs have some 1400, and a wrong length must not fill the memory

_ASSUMED_UID = 4000  # of files without a readout_uid: only AstroPix 4 was written so
_MAX_UID = 0xFFFFFFFF


class FileHeader(Mapping[str, Any]):
    """What stands at the top of a file: a JSON object, indexed by its keys.

    Parameters
    ----------
    readout_class : type or int
        Class of the readouts in the file, such as `AstroPix4Readout`; or their uid, of which there need be
        no class.
    content : mapping
        Anything that JSON can hold. The key ``readout_uid`` is set to that of the kind.

    Attributes
    ----------
    readout_uid : int
        Says the kind of the readouts.
    is_assumed : bool
        The file does not say its kind, as those of spring 2025: it is taken for AstroPix 4.
    size : int
        Bytes that it takes at the top of the file that it was read from; 0 if it was not.
    damage : str
        Why it could not be read, where the kind was known without it; empty if it could.
    """

    def __init__(self, readout_class: type[Readout[Any]] | int, content: Mapping[str, Any]) -> None:
        self.readout_uid = readout_class if isinstance(readout_class, int) else readout_class.uid()
        self.is_assumed = False
        self.size = 0
        self.damage = ""
        uid = {"readout_uid": self.readout_uid}
        self._content = uid | dict(content) | uid  # first in the file, and not for the content to change

    @classmethod
    def from_file(cls, file: IO[bytes], uid: int | None = None) -> Self:
        """Read the header of an open file, and leave the file at its first readout.

        Parameters
        ----------
        file
            Open for reading, at its beginning.
        uid
            Kind of the readouts of a file whose header is not JSON; None refuses it. See `damage`.

        Raises
        ------
        FormatError
            If the file is not an .apx file, or its header is damaged.
        """
        start = file.read(len(MAGIC) + LENGTH.size)
        if not start:
            raise FormatError("the file is empty", offset=0)
        if len(start) < len(MAGIC) + LENGTH.size and start[: len(MAGIC)] == MAGIC[: len(start)]:
            raise FormatError("the file ends before its header", offset=len(start))
        if not start.startswith(MAGIC):
            raise FormatError(NOT_APX, offset=0)
        (length,) = LENGTH.unpack_from(start, len(MAGIC))
        if length > MAX_HEADER:
            told = f"the header claims to have {length} bytes, more than the {MAX_HEADER} allowed"
            raise FormatError(told, offset=len(MAGIC))
        text = file.read(length)
        if len(text) < length:
            told = f"the file ends in its header: {len(text)} of {length} bytes"
            raise FormatError(told, offset=len(start) + len(text))
        damage = ""
        try:
            content = _parse_json(text)
        except FormatError as error:
            if uid is None:
                raise
            content, damage = {"readout_uid": uid}, str(error)
        header = cls(content.get("readout_uid", _ASSUMED_UID), content)
        header.size, header.damage = len(start) + length, damage
        header.is_assumed = "readout_uid" not in content
        return header

    def readout_class(self) -> type[Readout[Any]]:
        """Give the class of the readouts in the file.

        Raises
        ------
        FormatError
            There is none for this kind: the readouts can be copied and sent, but not decoded.
        """
        return uid_to_readout_class(self.readout_uid)

    def serialize(self, size: int = 0) -> bytes:
        """Make the bytes that a file begins with: magic, length, JSON.

        Parameters
        ----------
        size
            At least so many bytes: the JSON is followed by spaces, which leave room to write more later.

        Raises
        ------
        TypeError
            If the content holds something that is not for JSON.
        """
        text = json.dumps(self._content).encode().ljust(size - len(MAGIC) - LENGTH.size)
        return MAGIC + LENGTH.pack(len(text)) + text

    def __getitem__(self, key: str) -> Any:
        return self._content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def __repr__(self) -> str:
        return f"FileHeader({self.readout_uid}, {self._content})"


def _parse_json(text: bytes) -> dict[str, Any]:
    """Read the JSON of a header: an object, whose readout_uid, if there is one, is a number."""
    try:
        content = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the header is not JSON: {error}", offset=JSON_AT) from None
    if not isinstance(content, dict):
        raise FormatError("the header is not a JSON object", offset=JSON_AT)
    uid = content.get("readout_uid", _ASSUMED_UID)
    if not isinstance(uid, int) or isinstance(uid, bool) or not 0 <= uid <= _MAX_UID:
        told = f"the header's readout_uid is {json.dumps(uid)[:40]}, not a number from 0 to {_MAX_UID}"
        raise FormatError(told, offset=JSON_AT)
    return content
