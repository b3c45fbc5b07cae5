"""Raw frames of an A-STEP, as its DAQ writes them into a .bin file, to readouts of kind 3100. Pure.

Readouts begin and end where frames do. Nothing is left out: noise and bad frames are part of the readouts.
Noise is a complaint, but for the rest of a frame at the beginning, which a file may begin with.
"""

from astropix_stream.fileio import FileHeader
from astropix_stream.files.parser import Found, Parser
from astropix_stream.fmt import ASTEP, HEADER, HEADER_SIZE, MAGIC, Kind
from astropix_stream.fmt.astep import LAYERS, LONGEST, SHORTEST, find_frames
from astropix_stream.numbers import counted

MAX_DATAGRAM = 1400  # bytes: nothing is fragmented on an Ethernet
_MAX_DATA = MAX_DATAGRAM - HEADER_SIZE
_ID_MASK = 0xFFFFFFFF


class FrameParser(Parser):
    """Groups frames into readouts.

    Parameters
    ----------
    kind
        Of the readouts: `ASTEP`, or that with other settings of the firmware.
    offset
        Where in the file the bytes begin that it will get.
    next_id
        The readout_id of the first readout; they count on, and begin at 0 after 4 294 967 295.

    Attributes
    ----------
    next_id : int
        The readout_id of the next readout.
    whole_frames, bad_frames, noise_bytes : int
        What was found so far.
    """

    def __init__(self, kind: Kind = ASTEP, offset: int = 0, next_id: int = 0) -> None:
        super().__init__(offset)
        self.header = FileHeader(kind.uid, {})
        self.next_id = next_id
        self.whole_frames = self.bad_frames = self.noise_bytes = 0
        self._frame_length: int = kind.readout_class.frame_length()  # type: ignore[attr-defined]
        self._lost = False
        self._noise: tuple[int, int] | None = None  # where the latest stretch begins and ends in the file
        self._first = offset
        self._ready = b""  # frames of the readout that is being filled
        self._noisy = 0  # bytes of noise at its end

    @property
    def pending(self) -> bool:
        """Whether there are frames that wait for others, to fill a readout."""
        return bool(self._ready)

    def feed(self, data: bytes) -> list[Found]:
        """Take the bytes that follow; return the readouts that are full now."""
        self._buffer += data
        return self._take(ended=False)

    def flush(self) -> list[Found]:
        """Return the frames that are there, as a readout.

        Behind noise a frame is believed when the head of another follows it; if none does for now, the end
        of what was written will do.
        """
        found = []
        if self._lost and self._buffer:
            whole = find_frames(self._buffer, self._frame_length, lost=True).whole
            if whole and whole[-1] + 1 + self._frame_length == len(self._buffer):
                found = self._take(ended=True)
        return [*found, *self._give()]

    def finish(self) -> list[Found]:
        """Return the rest as readouts: nothing follows."""
        found = [*self._take(ended=True), *self._give()]
        self._complain()
        return found

    def _note_noise(self, begin: int, end: int) -> None:
        """Note a stretch of noise, which may go on with the bytes that follow."""
        self.noise_bytes += end - begin
        if self._noise is not None and self._noise[1] == begin:
            begin = self._noise[0]
        else:
            self._complain()
        self._noise = begin, end

    def _complain(self) -> None:
        """Complain of the latest noise, which has ended."""
        if self._noise is None:
            return
        begin, end = self._noise
        self._noise = None
        if begin > self._first or end - begin > LONGEST:
            self.complaints.add(f"{counted(end - begin, 'byte')} of noise at byte {begin}")

    def _take(self, *, ended: bool) -> list[Found]:
        buffer, base = self._buffer, self.offset + len(self._ready)
        frames = find_frames(buffer, self._frame_length, ended=ended, lost=self._lost)
        self._lost = frames.lost
        self.whole_frames += len(frames.whole)
        self.bad_frames += len(frames.bad)
        for begin, end in frames.noise:
            self._note_noise(base + begin, base + end)
        noise = dict(frames.noise)
        bounds = sorted({*frames.whole, *(at for at, _ in frames.bad), *noise, frames.end} - {0})
        found: list[Found] = []
        begin = 0
        for end in bounds:
            found += self._put(buffer[begin:end], noise=begin in noise)
            begin = end
        self._buffer = buffer[frames.end :]
        return found

    def _put(self, piece: bytes, *, noise: bool) -> list[Found]:
        """Put a frame, or noise, behind what is ready; return the readouts that are full by that."""
        found: list[Found] = []
        while len(self._ready) + len(piece) > _MAX_DATA:
            if noise:
                room = _MAX_DATA - len(self._ready)
                self._ready += piece[:room]
                self._noisy += room
                piece = piece[room:]
            found += self._give(self._border(piece[0], noise_goes_on=noise))
        self._ready += piece
        self._noisy = self._noisy + len(piece) if noise else 0
        return found

    def _border(self, following: int, *, noise_goes_on: bool) -> int:
        """Return how much of what is ready becomes a readout, before the byte that follows.

        A readout is decoded by itself. So that its hits are those of the whole file, noise does not end where
        it looks like a frame or the first byte of one, nor go on where one could begin.
        """
        ready, size = self._ready, len(self._ready)
        begins_frame = not noise_goes_on
        for border in range(size, size - self._noisy, -1):
            goes_on = begins_frame or not SHORTEST <= following <= LONGEST
            if goes_on and _looks_ended(ready, border, self._frame_length):
                return border
            following, begins_frame = ready[border - 1], False
        return size - self._noisy or size

    def _give(self, size: int | None = None) -> list[Found]:
        data, self._ready = self._ready[:size], b"" if size is None else self._ready[size:]
        self._noisy = len(self._ready)
        if not data:
            return []
        begin = self.offset
        self.offset += len(data)
        readout_id = self.next_id
        self.next_id = readout_id + 1 & _ID_MASK
        raw = HEADER.pack(MAGIC, readout_id, 0, len(data)) + data
        return [Found(raw, readout_id, 0, begin, self.offset)]


def _looks_ended(data: bytes, end: int, frame_length: int) -> bool:
    """Tell whether noise that ends there looks like noise to its end."""
    if SHORTEST <= data[end - 1] <= LONGEST:
        return False
    begin = end - 1 - frame_length
    return begin < 0 or data[begin] != frame_length or not 1 <= data[begin + 1] <= LAYERS
