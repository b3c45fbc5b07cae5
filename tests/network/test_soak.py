"""One minute of the soak. ``make soak MINUTES=60`` for more."""

import pytest

from matrix.soak import soak


@pytest.mark.alone
@pytest.mark.timeout(240)
def test_a_minute_of_everything_at_random():
    bench = soak(minutes=1, seed=1)
    print(bench.injected, bench.counted, sep="\n")
    assert bench.failures == []
