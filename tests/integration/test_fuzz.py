"""Half a minute of `make fuzz`, always with the same seed."""

import pytest

pytest.importorskip("bokeh")

from fuzz.__main__ import fuzz


@pytest.mark.alone
@pytest.mark.timeout(150)
def test_nothing_is_found():
    counts, failed = fuzz(minutes=0.75, first_seed=1)
    assert not failed
    assert len(counts) == 8
    assert min(counts.values()) > 0, counts
