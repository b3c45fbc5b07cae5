"""Find hits by their start bytes: the walk that all kinds share whose hits are between idle bytes.

``bc`` is idle, ``ff`` is padding; a hit is so many bytes, of which the first is a start byte. Any bytes
decode, to hits and bits of `Decoding`, in linear time.
"""

import re
from collections.abc import Collection

from astropix_stream.fmt.framing import BytesLike
from astropix_stream.fmt.meaning import Division, Meaning
from astropix_stream.fmt.status import Decoding

IDLE = b"\xbc\xff"
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

_MATCHED = 1 << Decoding.ORPHAN_BYTES_MATCHED
_DROPPED = 1 << Decoding.ORPHAN_BYTES_DROPPED
_NOT_USED = 1 << Decoding.ORPHAN_BYTES_NOT_USED
_EXTRA = 1 << Decoding.VALID_EXTRA_BYTES
_CUT_SHORT = 1 << Decoding.INCOMPLETE_HIT_DROPPED


def reverse_bit_order(data: BytesLike) -> bytes:
    """Reverse the order of the bits inside every byte.

    Parameters
    ----------
    data : bytes-like
        Any number of bytes.

    Returns
    -------
    bytes
        As many bytes; ``01`` has become ``80``.
    """
    return bytes(data).translate(REVERSED)


class Walk:
    r"""Finds the hits of one kind.

    Parameters
    ----------
    hit_size : int
        Bytes of a hit, 2 or more.
    starts : collection of int
        The bytes with which a hit can begin, without idle and padding.

    Raises
    ------
    ValueError
        A hit has fewer bytes, or no byte with which it can begin.

    Notes
    -----
    From the first start byte on, the data are tokens that each begin with a start byte and swallow what is no
    start byte after them: a hit (group 1), the extra bytes at the end (group 2), or a hit that was cut short.
    A whole hit with a start byte inside counts only if a start byte or the end comes next. An idle run is
    looked over from the at most `hit_size` places before it, so the time is linear; the possessive ``*+``
    keeps it so.
    """

    __slots__ = ("_before_start", "_find_tokens", "_walk_tokens", "hit_size", "is_start", "starts")

    def __init__(self, hit_size: int, starts: Collection[int]) -> None:
        if hit_size < 2 or not starts or not set(starts) <= set(range(256)) - set(IDLE):
            raise ValueError("a hit has two bytes or more, and begins with a byte other than bc and ff")
        self.hit_size = hit_size
        self.starts = bytes(sorted(starts))
        self.is_start = bytes(byte in self.starts for byte in range(256))
        start = b"[" + b"".join(b"\\x%02x" % byte for byte in self.starts) + b"]"
        other = b"[^" + start[1:]
        self._before_start = re.compile(other + b"*+")
        tokens = re.compile(
            rb"""(S(?: O{%(rest)d} | .{%(rest)d}(?=[\xbc\xff]*+(?:S|\Z)) )) O*+
               | (S.{0,%(less)d}+)\Z
               | SO*+""".replace(b"S", start).replace(b"O", other)
            % {b"rest": hit_size - 1, b"less": hit_size - 2},
            re.DOTALL | re.VERBOSE,
        )
        self._find_tokens, self._walk_tokens = tokens.findall, tokens.finditer

    def parse(self, data: bytes, extra_bytes: bytes | None = None) -> tuple[list[bytes], bytes | None, int]:
        """Find the hits in the data of a readout.

        Parameters
        ----------
        data : bytes
            Any bytes, without the trailing padding.
        extra_bytes : bytes, optional
            The extra bytes of the previous readout, to complete with the bytes before the first start byte.

        Returns
        -------
        hits : list of bytes
            The bytes of each hit, as the board sent them.
        extra_bytes : bytes or None
            The beginning of a hit at the very end, for the next readout.
        status : int
            Bits of `Decoding`.
        """
        body = data.lstrip(IDLE)
        hits: list[bytes] = []
        left, status = None, 0
        if body and not self.is_start[body[0]]:
            hits, status = self._use_orphans(body, extra_bytes)
        for hit, extra in self._find_tokens(body):
            if hit:
                hits.append(hit)
            elif extra:
                left = extra
                status |= _EXTRA
            else:
                status |= _CUT_SHORT
        return hits, left, status

    def divide(self, data: bytes, extra_bytes: bytes | None = None) -> Division:
        """Say what each byte is, as `parse` takes it; the parameters are the same."""
        division = Division()
        division.cover(len(data) - len(data.lstrip(IDLE)), Meaning.IDLE)
        begin, order = division.at, 0
        end = self._before_start.match(data, begin).end()  # type: ignore[union-attr]  # the empty string too
        orphans = data[begin:end].rstrip(IDLE)
        if orphans:
            matched = bool(extra_bytes) and len(extra_bytes or b"") + len(orphans) == self.hit_size
            division.cover(begin + len(orphans), Meaning.ORPHAN, 0 if matched else None)
            order = int(matched)
        division.cover(end, Meaning.IDLE)
        for token in self._walk_tokens(data, end):
            if token[1]:
                division.cover_hit(token.end(1), order)
                order += 1
            elif token[2]:
                division.cover(token.end(2), Meaning.EXTRA)
            division.drop(data, token.end())
        return division

    def _use_orphans(self, body: bytes, extra_bytes: bytes | None) -> tuple[list[bytes], int]:
        """Complete the previous readout's last hit with the bytes before the first start byte."""
        if not extra_bytes:
            return [], _NOT_USED
        end = self._before_start.match(body).end()  # type: ignore[union-attr]  # it matches the empty string too
        hit = bytes(extra_bytes) + body[:end].rstrip(IDLE)
        return ([hit], _MATCHED) if len(hit) == self.hit_size else ([], _DROPPED)
