"""Which evidence decides where a readout belongs: ids first, then clocks. Pure.

Ids tell what follows what. The DAQ's clock may be set at any time and by any amount: a timestamp decides only
between two places that fit by their ids, and only where it is clear. Steps are of ids; a fit is counted in
strides. See docs/decisions/0013-which-evidence-decides-what.md.
"""

from astropix_stream.counting.track import PLAUSIBLE_JUMP, REORDER_WINDOW, Pending, Track, distance

LARGEST_JUMP = 1 << 30  # in ids, whatever the stride: most of the counter's range must not look like a step
MOST_LOST = 1 << 24  # in strides: more is believed only if the next id confirms it
CLEARLY = 64  # times nearer in time
NEXT_FEW = 8
SURELY_AGAIN = 4  # first readouts of a run in order, with none of another in between: not duplicates


def near(stride: int) -> int:
    """Return the longest step that needs no second readout to be believed."""
    return REORDER_WINDOW * stride


def far(stride: int) -> int:
    """Return the longest step that may pass the counter's end."""
    return min(PLAUSIBLE_JUMP * stride, LARGEST_JUMP)


def time_apart(track: Track, timestamp: int) -> int:
    """Return by how much a timestamp is outside of those of a track, and of its next few."""
    first, last = sorted((track.run.first_timestamp, track.last_timestamp))
    margin = NEXT_FEW * (last - first) // track.size
    return max(0, first - timestamp - margin, timestamp - last - margin)


def fit(track: Track, readout_id: int, timestamp: int, stride: int, *, loosely: bool) -> int:
    """Return by how many strides a readout goes on with a sequence, or back into a gap of it; 0: not."""
    step = distance(track.last_id, readout_id, far(stride))
    if step == stride:
        return 1
    if not loosely or step < -near(stride) or step > max(near(stride), track.usual_step):
        return 0
    if step > 0:
        return max(1, step // stride)
    back = -step // stride
    if track.window >> back & 1 or _is_rather_first(track, readout_id, timestamp, stride):
        return 0
    return max(1, back)


def _is_rather_first(track: Track, readout_id: int, timestamp: int, stride: int) -> bool:
    """Whether a readout that fits into a gap is rather one of the first of another run."""
    gap, is_first = track.gap_of(readout_id), readout_id < stride
    if timestamp <= track.last_timestamp:
        return is_first and gap is not None and gap.joining
    return is_first or gap is None or gap.opened_size <= 1 or _after_a_pause(track, timestamp)


def _after_a_pause(track: Track, timestamp: int) -> bool:
    """Whether a timestamp is later than the next few of a track would be, by far."""
    pace = abs(track.last_timestamp - track.run.first_timestamp) // track.size
    return timestamp - track.last_timestamp > CLEARLY * pace


def clearest(fitting: list[tuple[int, int, Track]], timestamp: int) -> Track | None:
    """Return, of tracks with their fit and their rank, that of a readout: by its time if that is clear."""
    if len(fitting) > 1 and all(track.size > 1 for _, _, track in fitting):
        apart = sorted(((time_apart(one[2], timestamp), one[1], one[2]) for one in fitting), key=_first_two)
        if apart[0][0] * CLEARLY < apart[1][0]:
            return apart[0][2]
    return min(fitting, key=_first_two)[2] if fitting else None


def _first_two(item: tuple[int, int, Track]) -> tuple[int, int]:
    return item[:2]


def is_nearer_to_pending(
    pending: Pending, track: Track, readout_id: int, timestamp: int, stride: int
) -> bool:
    """Whether a readout that fits a track belongs to what is pending rather: by its time, or its id."""
    last_id, last_timestamp = pending.places[-1]
    step = distance(last_id, readout_id, far(stride))
    from_pending, from_track = abs(timestamp - last_timestamp), abs(timestamp - track.last_timestamp)
    if from_pending * CLEARLY < from_track:
        return True
    if from_track * CLEARLY < from_pending and track.size > 1:  # of a lone readout the pace is not known
        return False
    ahead = distance(track.last_id, readout_id, far(stride))
    if step == ahead:  # the first id of a run does not come again with other data, but in another run
        return step == stride and pending.places[0][0] < stride
    return 0 < step < ahead or (ahead < 0 and abs(step) <= -ahead)


def is_confirmed(pending: Pending, step: int, stride: int, *, implausible: bool) -> bool:
    """Whether a readout so far from the last pending one confirms it: the more would be lost, the nearer."""
    if step == 0 or step < -near(stride):
        return False
    if step <= near(stride):
        return True
    if step > far(stride) or implausible or pending.went_on:
        return False
    first_id = pending.places[0][0]
    ahead = distance(pending.track.last_id, first_id, far(stride))
    return (ahead if ahead > 0 else first_id) <= MOST_LOST * stride


def may_be_whole(pending: Pending) -> bool:
    """Whether readouts that came before are the beginning of a run that comes again, and no duplicates."""
    return pending.from_first and pending.distance > REORDER_WINDOW


def is_surely_again(pending: Pending) -> bool:
    """Whether readouts that came before are too many in order to be duplicates."""
    return pending.distance > REORDER_WINDOW or len(pending.places) >= SURELY_AGAIN


def follows_again(pending: Pending, readout_id: int, original: int, stride: int) -> bool:
    """Whether a readout that came before follows pending ones as it did the first time."""
    if pending.original is None or original >= pending.ordinals[0]:
        return False
    step = distance(pending.places[-1][0], readout_id, far(stride))
    if step == stride:
        return pending.from_first or original > pending.original
    return is_surely_again(pending) and 0 < step <= far(stride) and original > pending.original
