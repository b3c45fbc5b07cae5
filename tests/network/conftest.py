"""What every network test has: a lab."""

import pytest

from network.hosts import Lab


@pytest.fixture
def lab():
    with Lab() as lab:
        yield lab
