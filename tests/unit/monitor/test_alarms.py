"""The rules of alarms, on a clock of their own."""

import tracemalloc
from typing import Any

import pytest

from astropix_stream.clock import Moment
from astropix_stream.counting.state import State
from astropix_stream.monitor.alarms import MAX_LOG, Alarms, Reading
from astropix_stream.monitor.settings import load_settings

BEGIN_NS = 1_800_000_000 * 10**9


def rules(text):
    return load_settings(f"alarms: [{text}]").alarms


class Scene:
    """A stream of which each second is told; alarms look at it."""

    def __init__(self, text):
        self.alarms = Alarms(rules(text))
        self.s = 0
        self.told: dict[str, Any] = {
            "state": State.LIVE, "state_text": "", "age_s": 0.1, "rates": [100.0] * 600, "held": 0,
            "lost": 0, "run": 1, "decoded": 0, "faulty": (0, 0), "hot": (),
        }  # fmt: skip
        self.events = []

    def second(self, seconds=1, **changes):
        """Let so many seconds pass with this; return what was raised and cleared in them."""
        before = len(self.events)
        for _ in range(seconds):
            self.s += 1
            self.told |= changes
            self.told["held"] += 100
            self.told["decoded"] += 100
            self.events += self.alarms.step(Reading(now=self.now, **self.told))
        return [("raised" if one.raised else "cleared", one.text) for one in self.events[before:]]

    @property
    def now(self):
        return Moment(1000.0 + self.s, BEGIN_NS + self.s * 10**9)

    @property
    def state(self):
        (one,) = self.alarms.rules_to_json()
        return one["state"]


def test_readings_do_not_each_keep_ten_minutes_of_rates():
    scene = Scene("{when: loss}")
    tracemalloc.start()
    try:
        for _ in range(150):
            scene.second(rates=[float(n) for n in range(600)], hot=[f"0/{n}/{n}" for n in range(50)])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1 << 20


def test_hold_times():
    scene = Scene("{when: rate, below: 50, over: 2s, raise_after: 5s, clear_after: 3s}")
    assert scene.second(3) == []
    assert scene.state == "ok"
    assert scene.second(5, rates=[10.0] * 600) == []
    assert scene.state == "pending"
    assert scene.second(1) == [("raised", "10 readouts/s over 2.0 s")]
    assert scene.second(20) == [], "it is told once"
    assert scene.state == "raised"
    assert scene.second(3, rates=[60.0] * 600) == []
    assert scene.second(1) == [("cleared", "60 readouts/s over 2.0 s")]
    raised, cleared = scene.events
    assert cleared.since_ns == raised.at_ns
    assert (raised.number, cleared.number) == (1, 2)


def test_a_value_that_comes_and_goes_is_not_told():
    scene = Scene("{when: rate, below: 50, over: 2s, raise_after: 3s, clear_after: 3s}")
    for _ in range(10):
        assert scene.second(2, rates=[10.0] * 600) == []
        assert scene.second(1, rates=[90.0] * 600) == []
    scene.second(4, rates=[10.0] * 600)
    assert scene.state == "raised"
    for _ in range(10):
        assert scene.second(2, rates=[90.0] * 600) == []
        assert scene.second(1, rates=[10.0] * 600) == []


def test_rate_between_two_limits():
    scene = Scene("{when: rate, below: 50, above: 200, over: 2s, clear_after: 0}")
    assert scene.second(rates=[300.0] * 600) == [("raised", "300 readouts/s over 2.0 s")]
    assert scene.second(rates=[100.0] * 600) == [("cleared", "100 readouts/s over 2.0 s")]
    assert scene.second(rates=[0.0] * 600) == [("raised", "0 readouts/s over 2.0 s")]


def test_a_rate_that_is_not_known_yet_changes_nothing():
    scene = Scene("{when: rate, below: 50, over: 10s}")
    assert scene.second(rates=[0.0] * 9) == []
    assert scene.state == "unknown"
    assert scene.second(rates=[0.0] * 10)[0][0] == "raised"
    assert scene.second(rates=[100.0] * 9) == []
    assert scene.state == "raised"


def test_the_rate_is_that_of_the_latest_seconds():
    scene = Scene("{when: rate, above: 50, over: 3s}")
    assert scene.second(rates=[100.0] * 5 + [0.0] * 3) == []
    assert scene.state == "ok"


def test_loss():
    scene = Scene("{when: loss, above: 1%, over: 10s, clear_after: 0}")
    assert scene.second(30) == []
    assert scene.second(lost=5) == [], "5 of 1000 are half a per cent"
    assert scene.second(lost=16) == [("raised", "1.57 % lost over 10 s: 16 readouts")]
    assert scene.second(9) == []
    assert scene.second(2) == [("cleared", "0 % lost over 10 s: 0 readouts")]


def test_a_loss_in_the_first_seconds_counts():
    scene = Scene("{when: loss, over: 60s}")
    assert scene.second() == []
    assert scene.state == "unknown"
    assert scene.second(lost=1)[0][0] == "raised"


def test_silence():
    scene = Scene("{when: silence, above: 20s, clear_after: 5s}")
    assert scene.second(age_s=20.0) == []
    assert scene.second(age_s=21.0) == [("raised", "no readout for 21 s")]
    assert scene.second(6, age_s=0.1) == [("cleared", "no readout for 0.1 s")]


def test_hot_pixels():
    scene = Scene("{when: hot pixels, above: 1, ignore: [0/9/3], clear_after: 0}")
    assert scene.second(hot=("0/9/3", "0/1/1")) == []
    five = ("0/9/3", "0/1/1", "0/2/2", "0/3/3", "0/4/4")
    assert scene.second(hot=five) == [("raised", "4 hot pixels: 0/1/1, 0/2/2, 0/3/3 and 1 more")]
    assert scene.second(hot=()) == [("cleared", "0 hot pixels")]


def test_decode_problems():
    scene = Scene("{when: decode problems, above: 2%, over: 10s, clear_after: 0}")
    assert scene.second(20, faulty=(3, 3)) == []
    assert scene.state == "ok", "each is looked at by itself: a readout may have several"
    assert scene.second(faulty=(3, 30)) == [("raised", "2.7 % with a decode problem over 10 s")]
    assert scene.second(run=2, decoded=0, faulty=(0, 0)) == []
    assert scene.state == "raised", "of a new run nothing is known yet"
    assert scene.second(2)[0] == ("cleared", "0 % with a decode problem over 10 s")


def test_no_connection():
    scene = Scene("{when: no connection, raise_after: 2s}")
    gone = {"state": State.NO_NETWORK, "state_text": "the relay is not heard"}
    assert scene.second(2, **gone) == []
    assert scene.second(**gone) == [("raised", "the relay is not heard")]
    assert [event.value for event in scene.events] == [None]


def test_other_rules():
    scene = Scene("{when: silence}, {when: rate, below: 50, over: 2s, name: slow}")
    scene.second(age_s=60.0, rates=[0.0] * 600)
    assert [name for name, *_ in scene.alarms.raised] == ["silence above 30 s", "slow"]
    gone = scene.alarms.replace(rules("{when: silence}, {when: loss}"), scene.now)
    assert [(one.alarm, one.raised, one.text) for one in gone] == [
        ("slow", False, "its rule was changed or removed")
    ]
    assert scene.second() == [], "what stays the same goes on, and is not told again"
    assert [name for name, *_ in scene.alarms.raised] == ["silence above 30 s"]


def test_the_log_is_bounded_and_tells_all():
    scene = Scene("{when: silence, clear_after: 0, name: quiet}")
    for _ in range(MAX_LOG):
        scene.second(age_s=60.0)
        scene.second(age_s=0.0)
    assert len(scene.alarms.log) == MAX_LOG
    last = scene.alarms.log[-1].to_json()
    assert (last["event"], last["alarm"], last["when"]) == ("cleared", "quiet", "silence")
    assert last["number"] == 2 * MAX_LOG


def test_a_monitor_that_starts_again_goes_on():
    scene = Scene("{when: silence, name: quiet}")
    scene.second(age_s=60.0)
    saved = scene.alarms.to_json()
    again = Scene("{when: silence, name: quiet}, {when: loss}")
    again.alarms.restore(saved)
    again.s = scene.s
    assert again.second(age_s=61.0) == [], "it was told already"
    assert list(again.alarms.log) == scene.events
    assert again.second(11, age_s=0.1)[0][0] == "cleared"
    assert again.events[-1].number == 2


EVENT = {
    "number": 1, "at_ns": 1, "raised": True, "alarm": "a", "when": "loss", "text": "", "value": None,
    "since_ns": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    "saved",
    [
        {},
        {"log": [{}], "raised": {}, "count": 0},
        {"log": [], "raised": [], "count": 0},
        {"log": [EVENT | {"alarm": 1}], "raised": {}, "count": 1},
        {"log": [EVENT | {"at_ns": "1"}], "raised": {}, "count": 1},
        {"log": [EVENT | {"value": ""}], "raised": {}, "count": 1},
    ],
)
def test_what_was_not_saved_by_us_is_refused(saved):
    alarms = Alarms(rules("{when: silence}"))
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        alarms.restore(saved)
    assert not alarms.log
