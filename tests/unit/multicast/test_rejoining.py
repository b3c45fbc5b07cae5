"""When a group is joined again."""

import pytest

from astropix_stream.multicast.rejoining import WORDS, Cause, why_rejoin


@pytest.mark.parametrize(
    ("found", "listed", "silent_s", "limit_s", "cause"),
    [
        ("eth0", True, 1e6, 0.0, None),
        ("eth0", None, 0.0, 5.0, None),
        ("eth0", True, 4.9, 5.0, None),
        ("eth0", True, 5.0, 5.0, Cause.SILENCE),
        ("eth0", False, 5.0, 5.0, Cause.FORGOTTEN),
        ("eth1", False, 5.0, 5.0, Cause.INTERFACE),
        ("eth1", True, 0.0, 0.0, Cause.INTERFACE),
    ],
)
def test_the_first_cause_that_holds_is_told(found, listed, silent_s, limit_s, cause):
    assert why_rejoin("eth0", found, listed=listed, silent_s=silent_s, limit_s=limit_s) == cause


def test_each_cause_has_words():
    assert set(WORDS) == set(Cause)
