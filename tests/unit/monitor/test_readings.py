"""What alarms look at, out of a stream."""

from astropix_stream.clock import Moment
from astropix_stream.counting.state import State
from astropix_stream.fmt import Decoding
from astropix_stream.monitor import readings
from unit.monitor.stream import Stream, losing, moment, readout


def read(stream, after_s, *, hot=False):
    return readings.read(stream.accumulator, moment(after_s), hot=hot)


def test_before_the_first_readout():
    stream = Stream()
    reading = read(stream, 7.0, hot=True)
    assert reading.now == Moment(1007.0, moment(7.0).ns)
    assert reading.age_s == 7.0, "as long as the monitor has waited"
    assert (reading.held, reading.lost, reading.run, reading.decoded) == (0, 0, 0, 0)
    assert not any(reading.faulty)
    assert reading.hot == ()


def test_a_run():
    stream = Stream()
    for second in range(1, 5):
        stream.run(10 * second, 10, float(second))
    stream.tell(5.0, losing(BEFORE_SOCKET=3, CLIENT_QUEUE=2), state=State.LOSING, age_s=0.5)
    stream.send([readout(60, 0, hits=(), tail=b"\x17")], 5.0)
    reading = read(stream, 6.0)
    assert (reading.state, reading.age_s) == (State.LOSING, 1.5)
    assert "lost in the last 10 s" in reading.state_text
    assert list(reading.rates) == [0.0, 10.0, 10.0, 10.0, 10.0]
    assert (reading.held, reading.lost, reading.decoded, reading.run) == (41, 5, 41, 1)
    assert sum(reading.faulty) == 1


def test_hits_that_were_split_are_no_problem():
    assert Decoding.VALID_EXTRA_BYTES not in readings.FAULTS
    assert Decoding.ORPHAN_BYTES_MATCHED not in readings.FAULTS


def test_hot_pixels_are_looked_for_where_a_rule_wants_them():
    stream = Stream()
    stream.send([readout(i, i, hits=[(3, 9, 50)] * 20 + [(1, 1, 50)]) for i in range(20)], 1.0)
    assert read(stream, 2.0).hot == ()
    assert read(stream, 2.0, hot=True).hot[0] == "0/9/3"


def test_what_was_missed_while_no_monitor_ran_is_no_loss():
    """Else each start of a monitor would raise an alarm."""
    stream = Stream()
    stream.run(0, 10, 1.0)
    stream.tell(2.0, losing(CLIENT_AWAY=100, BEFORE_SOCKET=1))
    assert read(stream, 2.0).lost == 1
