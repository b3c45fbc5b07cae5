"""A-STEP: chips in layers, behind an FPGA that frames each hit. Kind 3100.

Frames follow one another, without idle bytes and without reversed bits; nothing is stripped from their end.

======  ======  =========================================================================
offset  size    field
======  ======  =========================================================================
0       1       length: how many bytes follow; 10 with a half hit of AstroPix 3
1       1       layer, 1 to 3
2       5 or 8  the hit: a half hit of AstroPix 3, or a hit of AstroPix 4
...     4       the FPGA's timestamp, little-endian; firmware can be set to 2 to 8 bytes
======  ======  =========================================================================

A frame of another length, or of another layer, is a *bad frame*: it is counted, its bytes are kept, and it
has no hit. Where no frame can begin (the length is not 5 to 14, or the layer not 1 to 3), bytes are *noise*
up to the next whole frame that is followed by the head of another, or by the end.
"""

from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from astropix_stream.errors import ConfigError, FormatError
from astropix_stream.fmt import astropix4
from astropix_stream.fmt.astropix3 import HALF_HIT_SIZE, LOCATIONS, SIZE, AstroPix3Hit
from astropix_stream.fmt.astropix4 import AstroPix4Hit
from astropix_stream.fmt.framing import BytesLike
from astropix_stream.fmt.kinds import Kind
from astropix_stream.fmt.meaning import Division, Meaning
from astropix_stream.fmt.pixels import PixelRule
from astropix_stream.fmt.readouts import Readout
from astropix_stream.fmt.status import Decoding

CLOCK_MHZ = 100
LAYERS = 3
SHORTEST, LONGEST = 5, 14  # lengths that the FPGA gives a frame
TIMESTAMP_BYTES = 4

_MATCHED = 1 << Decoding.ORPHAN_BYTES_MATCHED
_DROPPED = 1 << Decoding.ORPHAN_BYTES_DROPPED
_NOT_USED = 1 << Decoding.ORPHAN_BYTES_NOT_USED
_EXTRA = 1 << Decoding.VALID_EXTRA_BYTES
_NOISE = 1 << Decoding.INVALID_EXTRA_BYTES
_BAD = 1 << Decoding.INCOMPLETE_HIT_DROPPED


class Frames(NamedTuple):
    """Frames found in some bytes."""

    whole: list[int]
    """Where each whole frame begins."""
    bad: list[tuple[int, int]]
    """Where each bad frame begins and ends."""
    noise: list[tuple[int, int]]
    """Where each stretch of noise begins and ends."""
    end: int
    """Where the bytes begin that are left over for want of what follows; their number if none are."""
    lost: bool
    """Whether noise goes on there: say so with the bytes that follow."""


def find_frames(data: bytes, whole: int, *, ended: bool = True, lost: bool = False) -> Frames:
    """Divide bytes into frames.

    Parameters
    ----------
    data : bytes
        Any bytes. If they begin in the middle of a frame, its rest is noise.
    whole : int
        Length of a whole frame, without its length byte.
    ended : bool
        Whether nothing follows. If more may come, what only that can decide is left over: give it again, with
        what comes, and `lost` as it was told.
    lost : bool
        Whether the bytes before these were noise.
    """
    found: tuple[list[int], list[tuple[int, int]], list[tuple[int, int]]] = [], [], []
    frames, bad, noise = found
    at, size = 0, len(data)
    needed = 0 if ended else 2  # bytes of the frame that follows
    while at < size:
        if lost or not SHORTEST <= data[at] <= LONGEST:
            end, lost = _next_frame(data, at if lost else at + 1, whole, needed)
            if end > at:
                noise.append((at, end))
            at = end
            if lost and not ended:
                break
            continue
        end = at + 1 + data[at]
        if _heads(data, at):
            if end > size or (needed and at + 1 == size):
                break
            if data[at] == whole:
                frames.append(at)
            else:
                bad.append((at, end))
            at = end
        elif end + needed > size and not ended:
            break
        elif end == size or (end < size and _heads(data, end)):
            bad.append((at, end))  # of a layer that there is not
            at = end
        else:
            lost = True
    return Frames(*found, at, lost and not ended)


def _heads(data: bytes, at: int) -> bool:
    """Tell whether a frame can begin here, as far as its length and layer are there."""
    return SHORTEST <= data[at] <= LONGEST and (at + 1 == len(data) or 1 <= data[at + 1] <= LAYERS)


def _next_frame(data: bytes, at: int, whole: int, needed: int) -> tuple[int, bool]:
    """Find the next whole frame that is followed by the head of another, or by the end.

    Returns
    -------
    at : int
        Where; the number of bytes if there is none.
    lost : bool
        Whether that is not sure, for want of the bytes that follow.
    """
    size = len(data)
    head = bytes([whole])
    while (at := data.find(head, at)) >= 0:
        end = at + 1 + whole
        if _heads(data, at):
            if needed and end + needed > size:
                return at, True
            if end == size or (end < size and _heads(data, end)):
                return at, False
        at += 1
    return size, True


def _unframe(data: BytesLike, hit_size: int) -> tuple[int, bytes, int]:
    """Divide a frame after its length byte into layer, hit, and the FPGA's timestamp."""
    size = 1 + hit_size
    if not size + 2 <= len(data) <= size + 8:
        told = f"a frame is {size + 2} to {size + 8} bytes after its length, not {len(data)}"
        raise FormatError(told, offset=0)
    return data[0], bytes(data[1:size]), int.from_bytes(data[size:], "little")


class AStepHit(AstroPix3Hit):
    """A half hit of a chip in a layer of an A-STEP: a row or a column.

    Parameters
    ----------
    data : bytes-like
        A frame after its length byte: the layer, the half hit, the FPGA's timestamp.
    readout_id, timestamp : int
        Those of the readout; the timestamp in ns since the Unix epoch.
    decoding_order : int
        Place among the hits of the readout, from 0.

    Attributes
    ----------
    layer : int
        The layer of chips, 1 to 3.
    fpga_timestamp : int
        Ticks of the FPGA; how long one is depends on the firmware.

    Raises
    ------
    FormatError
        If the data are too short or too long.
    """

    __slots__ = ("fpga_timestamp", "layer")

    TYPES: ClassVar[dict[str, str]] = {"layer": "u1"} | AstroPix3Hit.TYPES | {"fpga_timestamp": "u8"}
    ATTRIBUTE_NAMES = tuple(TYPES)
    CLOCK_MHZ: ClassVar[int] = CLOCK_MHZ

    def __init__(self, data: BytesLike, readout_id: int, timestamp: int, decoding_order: int) -> None:
        self.layer, hit, self.fpga_timestamp = _unframe(data, self.SIZE)
        super().__init__(hit, readout_id, timestamp, decoding_order)

    def _key(self) -> Any:
        return self.layer, self.bits, self.fpga_timestamp

    def _place(self) -> str:
        return f"layer {self.layer}, {super()._place()}, FPGA time {self.fpga_timestamp}"


class AStepAstroPix4Hit(AstroPix4Hit):
    """A hit of an AstroPix 4 chip in a layer of an A-STEP; see `AStepHit`."""

    __slots__ = ("fpga_timestamp", "layer")

    TYPES: ClassVar[dict[str, str]] = {"layer": "u1"} | AstroPix4Hit.TYPES | {"fpga_timestamp": "u8"}
    ATTRIBUTE_NAMES = tuple(TYPES)

    def __init__(self, data: BytesLike, readout_id: int, timestamp: int, decoding_order: int) -> None:
        self.layer, hit, self.fpga_timestamp = _unframe(data, self.SIZE)
        super().__init__(hit, readout_id, timestamp, decoding_order)

    def _key(self) -> Any:
        return self.layer, self.bits, self.fpga_timestamp

    def _place(self) -> str:
        return f"layer {self.layer}, {super()._place()}, FPGA time {self.fpga_timestamp}"


class AStepReadout(Readout[Any]):
    """Some frames of an A-STEP; its methods and parameters are those of `AstroPix4Readout`.

    Nothing is stripped from the end of the data. Other settings of the firmware make another class:
    ``ASTEP.configured(timestamp_bytes=8).readout_class``.
    """

    __slots__ = ("_bad_frames", "_noise_bytes")

    UID = 3100
    HIT_CLASS = AStepHit
    PADDING = b""
    #: Bytes of the FPGA's timestamp.
    TIMESTAMP_BYTES: ClassVar[int] = TIMESTAMP_BYTES
    #: ns of a tick of the FPGA's timestamp; None if that is not known.
    TICK_NS: ClassVar[float | None] = None

    _bad_frames: list[bytes]
    _noise_bytes: int

    @classmethod
    def frame_length(cls) -> int:
        """Give the length of a whole frame, as its first byte says it."""
        return 1 + int(cls.HIT_CLASS.SIZE) + cls.TIMESTAMP_BYTES

    def _parse(self, extra_bytes: bytes | None) -> tuple[list[bytes], bytes | None, int]:
        extra = bytes(extra_bytes or b"")
        usable = len(extra) <= LONGEST  # more are no beginning of a frame
        data, whole = (extra if usable else b"") + self._data, self.frame_length()
        found = find_frames(data, whole)
        self._bad_frames = [data[begin:end] for begin, end in found.bad]
        self._noise_bytes = sum(end - begin for begin, end in found.noise)
        frames = [data[begin + 1 : begin + 1 + whole] for begin in found.whole]
        status = _status(found, len(extra) if usable else 0, len(data), given=bool(extra))
        return frames, data[found.end :] or None, status

    @classmethod
    def _divide(cls, data: bytes, extra_bytes: bytes | None) -> Division:
        extra = bytes(extra_bytes or b"")
        before = len(extra) if len(extra) <= LONGEST else 0
        found = find_frames(extra[:before] + data, whole := cls.frame_length())
        hits = {begin: order for order, begin in enumerate(found.whole)}
        frames = [(begin, begin + 1 + whole) for begin in found.whole]
        division = Division()
        for begin, end in sorted([*frames, *found.bad, *found.noise]):
            hit = hits.get(begin)
            if begin < before or (not begin and hit is None and (begin, end) in found.noise):
                division.cover(end - before, Meaning.ORPHAN, hit)
            elif hit is not None:
                division.cover_hit(end - before, hit)
            else:
                division.cover(end - before, Meaning.DROPPED)
        division.cover(len(data), Meaning.EXTRA)
        return division

    def bad_frames(self) -> list[bytes]:
        """Give the bytes of each frame of another length or layer; decodes as `hits` does."""
        self.find()
        return self._bad_frames

    def noise_bytes(self) -> int:
        """Give the number of bytes that belong to no frame; decodes as `hits` does."""
        self.find()
        return self._noise_bytes

    def explained(self) -> tuple[int, int]:
        """Give the bytes of whole frames, and all bytes."""
        return len(self.find()) * (1 + self.frame_length()), len(self._data)

    def hits_as_text(self, clean: bool = True) -> list[str]:
        """Make a line for each hit and each bad frame, and one that says what was wrong."""
        bad = [f"bad frame: {frame.hex(' ')}" for frame in self.bad_frames()]
        return [*super().hits_as_text(clean), *bad]


def _status(found: Frames, extra: int, size: int, *, given: bool) -> int:
    """Say what was wrong, in bits of `Decoding`; `extra` bytes of the previous readout come first."""
    status = 0
    if any(not begin for begin, _ in found.noise):
        status |= _DROPPED if given else _NOT_USED
    elif extra and size > extra and found.end:
        status |= _MATCHED
    if any(begin for begin, _ in found.noise):
        status |= _NOISE
    if found.bad:
        status |= _BAD
    if found.end < size:
        status |= _EXTRA
    return status


_PROBLEMS = (
    (Decoding.ORPHAN_BYTES_MATCHED, "frame from two readouts"),
    (Decoding.ORPHAN_BYTES_DROPPED, "frame not completed"),
    (Decoding.ORPHAN_BYTES_NOT_USED, "begins within a frame"),
    (Decoding.VALID_EXTRA_BYTES, "ends within a frame"),
    (Decoding.INVALID_EXTRA_BYTES, "noise between frames"),
    (Decoding.INCOMPLETE_HIT_DROPPED, "bad frame"),
)

_HITS: dict[int, type[Any]] = {HALF_HIT_SIZE: AStepHit, astropix4.HIT_SIZE: AStepAstroPix4Hit}


def make_kind(
    hit_size: int | str = HALF_HIT_SIZE,
    timestamp_bytes: int | str = TIMESTAMP_BYTES,
    tick_ns: float | str | None = None,
) -> Kind:
    """Make the kind of an A-STEP with other firmware.

    Parameters
    ----------
    hit_size : int
        Bytes of a hit: 5 of AstroPix 3, 8 of AstroPix 4.
    timestamp_bytes : int
        Bytes of the FPGA's timestamp, 2 to 8.
    tick_ns : float, optional
        ns of a tick of that timestamp. Without it ticks are shown.

    Raises
    ------
    ConfigError
        If one of them is not such a number.
    """
    try:
        size, count, tick = int(hit_size), int(timestamp_bytes), None if tick_ns is None else float(tick_ns)
    except (TypeError, ValueError):
        raise ConfigError("hit_size, timestamp_bytes and tick_ns of an A-STEP are numbers") from None
    if size not in _HITS:
        raise ConfigError(f"hit_size {size}: 5 for hits of AstroPix 3, 8 for hits of AstroPix 4")
    if not 2 <= count <= 8:
        raise ConfigError(f"timestamp_bytes {count}: a timestamp of the FPGA has 2 to 8 bytes")
    if tick is not None and not 0 < tick < float("inf"):
        raise ConfigError(f"tick_ns {tick}: a tick takes more than 0 ns")
    return _make_kind(size, count, tick)


@lru_cache(maxsize=64)
def _make_kind(hit_size: int, timestamp_bytes: int, tick_ns: float | None) -> Kind:
    settings = {"HIT_CLASS": _HITS[hit_size], "TIMESTAMP_BYTES": timestamp_bytes, "TICK_NS": tick_ns}
    readout_class: type[AStepReadout] = AStepReadout
    if any(getattr(AStepReadout, name) != value for name, value in settings.items()):
        readout_class = type("AStepReadout", (AStepReadout,), settings | {"__slots__": ()})
    halves = hit_size == HALF_HIT_SIZE
    kind = Kind(
        uid=AStepReadout.UID,
        name="A-STEP",
        readout_class=readout_class,
        clock_mhz=CLOCK_MHZ if halves else astropix4.CLOCK_MHZ,
        rows=SIZE if halves else astropix4.ROWS,
        columns=SIZE if halves else astropix4.COLUMNS,
        limit=LOCATIONS if halves else 32,
        layers=LAYERS,
        tot_bin_ticks=1 if halves else 4,
        tot_range_us=40.0 if halves else 400.0,
        pixel_rule=PixelRule((6, 15), size=SIZE, over_readouts=True) if halves else None,
        problems=_PROBLEMS,
        decoder="astropix_stream.columns.astep:AStepColumns",
        make=make_kind,
        settings=("hit_size", "timestamp_bytes", "tick_ns"),
    )
    if readout_class is not AStepReadout:
        readout_class.KIND = kind
    return kind


ASTEP = make_kind()
