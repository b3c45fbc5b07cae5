"""What the doctor says of each step on the way to a log."""

import pytest

from astropix_stream.doctor.log import Found, Step, judge
from astropix_stream.url import parse_url

SOURCE = parse_url("nats://host:4222?stream=astropix")


@pytest.mark.parametrize(
    ("failed", "fault", "words"),
    [
        (Step.CONNECT, "log-unreachable", "cannot be reached: nothing listens there"),
        (Step.ACCESS, "log-refused", "refuses this connection"),
        (Step.JETSTREAM, "no-jetstream", "JetStream does not"),
        (Step.PERMISSION, "log-not-allowed", "does not allow it"),
        (Step.STREAM, "log-no-such-stream", "no stream 'astropix'; it has: other"),
    ],
)
def test_what_did_not_work_is_told_last(failed, fault, words):
    found = Found(SOURCE, failed, "nothing listens there", "host:4222", "astropix", ("other",))
    *fine, wrong = judge(found)
    assert (wrong.fault, wrong.is_wrong, wrong.blocks) == (fault, True, True)
    assert words in wrong.text
    assert not any(verdict.is_wrong for verdict in fine)


@pytest.mark.parametrize(
    ("age_s", "fault"), [(0.5, ""), (-0.5, ""), (-30.0, "log-clock"), (60.0, "log-old"), (None, "log-empty")]
)
def test_the_age_of_the_newest_readout(age_s, fault):
    *others, last = judge(Found(SOURCE, stream="astropix", messages=5, age_s=age_s))
    assert last.fault == fault
    assert not last.is_wrong
    assert [verdict.fault for verdict in others] == [""] * 4
