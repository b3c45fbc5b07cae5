"""Batches, and their parts."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.state import State
from astropix_stream.monitor.arrivals import Reception, Segment, ends_of, without_duplicates
from astropix_stream.monitor.runs import RunData, Tally
from unit.monitor.stream import BEGIN_NS, BEGIN_S, DAQ, Stream, readout


@pytest.fixture
def arrival():
    return Stream().arrival([readout(i, BEGIN_NS + i, [(1, 1, 9)] * i) for i in range(5)], 1.0)


def segment(arrival, begin, end, *, begins_run=False):
    run = RunData(1, DAQ, 0, BEGIN_NS, BEGIN_NS, Tally(0, 0, Counter()))
    return Segment(run, arrival, begin, end, begins_run)


def test_a_segment_has_the_bytes_of_its_readouts(arrival):
    raws = list(arrival.batch.datagrams())
    one = segment(arrival, 1, 4, begins_run=True)
    assert len(one) == 3
    assert bytes(one.payload) == b"".join(raws[1:4])
    assert bytes(segment(arrival, 0, 2).payload) == b"".join(raws[:2])


def test_only_its_first_part_begins_the_run(arrival):
    one = segment(arrival, 1, 5, begins_run=True)
    parts = [one.part(1, 3), one.part(3, 5)]
    assert [(len(part), part.begins_run) for part in parts] == [(2, True), (2, False)]


def test_where_readouts_end_in_several_segments(arrival):
    some = [segment(arrival, 3, 5), segment(arrival, 0, 2)]
    payload = b"".join(bytes(one.payload) for one in some)
    ends = ends_of(some)
    raws = list(arrival.batch.datagrams())
    found = [payload[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
    assert found == [raws[3], raws[4], raws[0], raws[1]]
    assert ends.dtype == np.int64


def test_duplicates_are_left_out(arrival):
    assert without_duplicates(arrival) is arrival
    twice = Stream().arrival([readout(i, BEGIN_NS) for i in range(3)], 1.0, duplicates=b"\0\1\0")
    assert without_duplicates(twice).batch.readout_ids == [0, 2]


def test_a_reception_differs_where_it_says_something_new():
    one = Reception(Moment(1.0, 10), Ledger(), State.LIVE, 0.1)
    later = Reception(Moment(2.0, 20), Ledger(), State.LIVE, 1.1)
    assert not one.differs(one)
    assert not later.differs(one), "time alone has gone on"
    assert replace(later, state=State.QUIET).differs(one)
    assert replace(later, trouble="the relay is not heard").differs(one)
    assert replace(later, ended=True).differs(one)
    assert replace(later, ledger=Ledger(delivered=1)).differs(one)


def test_what_comes_out_of_history_was_received_by_the_relay():
    stream, readouts = Stream(), [readout(0, BEGIN_NS)]
    live = stream.arrival(readouts, 7.5, received_s=2.0)
    assert (live.received_ns, live.second) == (BEGIN_NS + 7_500_000_000, int(BEGIN_S + 7))
    recovered = stream.arrival(readouts, 7.5, received_s=2.0, recovered=True)
    assert (recovered.received_ns, recovered.second) == (BEGIN_NS + 2 * 10**9, int(BEGIN_S + 2))
    ahead = stream.arrival(readouts, 7.5, received_s=60.0, recovered=True)
    assert ahead.second == int(BEGIN_S + 7), "the relay's clock is ahead of ours"
