"""How long the turns of the loop took."""

from astropix_relay.samples import Turns


def test_turns_are_counted_in_buckets_when_asked():
    turns = Turns()
    for seconds in (0.00005, 0.0001, 0.002, 5.0):
        turns.note(seconds)
    assert (sum(turns.counts), turns.total_s) == (0, 0.0)
    turns.count()
    turns.count()
    assert turns.counts == [2, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    assert turns.total_s == 0.00005 + 0.0001 + 0.002 + 5.0
