"""Numbers and times as people read them."""

import os
import time
from datetime import datetime

import pytest

from astropix_stream import numbers


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations(seconds, text):
    assert numbers.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (2**20, "1.0 MiB"), (3 * 2**40, "3072.0 GiB")],
)
def test_sizes(count, text):
    assert numbers.size(count) == text


def test_rates():
    assert [numbers.rate(value) for value in (0, 12.94, 99.94, 99.96, 4710.4)] == [
        "0.0/s", "12.9/s", "99.9/s", "100/s", "4710/s"
    ]  # fmt: skip
    meter = numbers.RateMeter()
    assert meter.note(0.0, 0) == 0.0
    assert [meter.note(at_s, 100 * at_s) for at_s in range(1, 10)] == [100] * 9
    assert [meter.note(at_s, 900) for at_s in range(10, 14)] == [
        pytest.approx(200 / 3),
        pytest.approx(100 / 3),
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("fraction", "said"),
    [(1.0, "100"), (0.99999, "99.99"), (0.9998, "99.98"), (0.5, "50.00"), (0.0, "0.00")],
)
def test_all_is_said_of_what_is_whole_only(fraction, said):
    assert numbers.percentage(fraction) == f"{said}\u202f%"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0.0 s"), (0.34, "0.3 s"), (12.4, "12 s"), (200, "3 min"), (7500, "2 h 5 min"), (400_000, "4 d")],
)
def test_age(seconds, said):
    assert numbers.age(seconds) == said


def test_figures():
    assert [numbers.figure(value) for value in (0.44, 12.94, 20013.3)] == ["0.4", "12.9", "20\u202f013"]


def test_a_time_of_another_day_has_its_date():
    now = 1_800_000_000 * 10**9
    assert len(numbers.clock(now, now)) == len("12:34:56")
    assert numbers.clock(now - 400 * 86400 * 10**9, now).startswith("20")


def test_any_timestamp_of_the_wire_is_a_time():
    assert numbers.clock((1 << 64) - 1, 0)
    assert numbers.clock(0, 0)


@pytest.fixture
def in_berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(os.name != "posix", reason="the zone is set as on POSIX")
@pytest.mark.usefixtures("in_berlin")
class TestATimeIsLocal:
    SUMMER = int(datetime.fromisoformat("2025-07-23T07:25:36+00:00").timestamp()) * 10**9 + 707_999_999
    WINTER = int(datetime.fromisoformat("2025-12-01T23:30:00+00:00").timestamp()) * 10**9

    def test_in_full(self):
        assert numbers.moment(self.SUMMER) == "2025-07-23 09:25:36.707 CEST"
        assert numbers.moment(self.WINTER) == "2025-12-02 00:30:00.000 CET"
        assert numbers.iso(self.SUMMER).startswith("2025-07-23T09:25:36.70")
        assert numbers.iso(self.WINTER) == "2025-12-02T00:30:00.000+01:00"

    def test_in_short(self):
        assert numbers.time_of_day(self.SUMMER) == "09:25:36"
        assert numbers.clock(self.WINTER, self.WINTER + 3600 * 10**9) == "00:30:00"
        assert numbers.clock(self.WINTER - 3600 * 10**9, self.WINTER) == "2025-12-01 23:30:00"

    def test_the_zone(self):
        assert [numbers.zone(at) for at in (self.SUMMER, self.WINTER)] == ["CEST, UTC+0200", "CET, UTC+0100"]


@pytest.mark.parametrize(
    ("count", "plain", "grouped"),
    [
        (0, "0 readouts", "0 readouts"),
        (1, "1 readout", "1 readout"),
        (1000, "1000 readouts", "1\u202f000 readouts"),
    ],
)
def test_things_are_counted_in_the_singular_and_the_plural(count, plain, grouped):
    assert numbers.counted(count, "readout") == plain
    assert numbers.counted(count, "readout", group=True) == grouped


@pytest.mark.parametrize(
    ("text", "width", "said"),
    [
        ("run.apx", 7, "run.apx"),
        ("/data/2025/run17.apx", 12, "/data…17.apx"),
        ("abcdef", 3, "a…f"),
        ("abcdef", 1, "…"),
    ],
)
def test_a_long_text_loses_its_middle(text, width, said):
    assert numbers.shortened(text, width) == said
