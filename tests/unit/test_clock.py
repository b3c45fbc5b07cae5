"""Both clocks at one moment."""

import time

from astropix_stream import clock


def test_both_clocks_are_read_now():
    before_s, before_ns = time.monotonic(), time.time_ns()
    moments = [clock.now() for _ in range(3)]
    after_s, after_ns = time.monotonic(), time.time_ns()
    seconds = [before_s, *(moment.s for moment in moments), after_s]
    assert seconds == sorted(seconds)
    assert all(before_ns <= moment.ns <= after_ns for moment in moments)
