"""A real browser, and the page in it."""

import pytest

from browser.page import Browser


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium with a window of a laptop's size."""
    with Browser(tmp_path / "chromium") as browser:
        yield browser


@pytest.fixture
def url(group, port):
    return f"udp://{group}:{port}?interface=127.0.0.1"
