"""What the log says of who can connect."""

import pytest

from astropix_relay.clients.connections import families


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("tcp://[::]:5556", " (all addresses, IPv6 and IPv4)"),
        ("tcp://0.0.0.0:5556", " (all addresses of IPv4; none of IPv6)"),
        ("tcp://127.0.0.1:5556", ""),
        ("ipc:///run/relay", ""),
    ],
)
def test_the_families_of_an_endpoint_on_all_addresses_are_told(endpoint, words):
    assert families(endpoint) == words
