"""Addresses, groups and ports as a person writes them."""

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream import addresses
from astropix_stream.errors import ConfigError


@pytest.mark.parametrize(
    ("group", "family"),
    [("239.1.1.1", 4), ("127.0.0.1", 4), ("ff15::1", 6)],
)
def test_a_group_tells_its_address_family(group, family):
    assert addresses.check_address(group, 5007) == family


@pytest.mark.parametrize(
    "group", ["", None, 1234, "localhost", "239.1.1", "239.1.1.1.1", "ff15::1%lo", "fe80::1%eth0"]
)
def test_what_is_not_an_address_is_refused(group):
    with pytest.raises(ConfigError, match=r"address|interface"):
        addresses.check_address(group, 5007)


@pytest.mark.parametrize("port", [0, -1, 65536, "5007", 5007.0, True, None])
def test_what_is_not_a_port_is_refused(port):
    with pytest.raises(ConfigError, match="port"):
        addresses.check_address("239.1.1.1", port)


@given(st.text(max_size=40), st.integers())
def test_any_text_is_an_address_or_a_config_error(group, port):
    with contextlib.suppress(ConfigError):
        addresses.check_address(group, port)


@pytest.mark.parametrize(
    ("address", "multicast", "of_one_link"),
    [
        ("224.0.0.0", True, False),
        ("239.255.255.255", True, False),
        ("240.0.0.0", False, False),
        ("223.255.255.255", False, False),
        ("169.254.1.1", False, False),  # IPv4 knows an interface by the route
        ("ff01::1", True, True),
        ("ff02::1", True, True),
        ("ff12::1", True, True),  # the flags beside the scope do not matter
        ("ff05::1", True, False),
        ("ff15::1", True, False),
        ("fe80::1", False, True),
        ("2001:db8::1", False, False),
        ("::1", False, False),
    ],
)
def test_groups_and_what_is_of_one_link(address, multicast, of_one_link):
    assert addresses.is_multicast(address) is multicast
    assert addresses.is_of_one_link(address) is of_one_link


@given(st.ip_addresses(v=6))
def test_each_spelling_of_an_address_becomes_the_same(address):
    assert addresses.canonical(address.exploded.upper()) == addresses.canonical(str(address)) == str(address)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_a_host_and_a_port_written_as_one_can_be_told_apart(address, port):
    host, _, number = addresses.joined(str(address), port).rpartition(":")
    assert ipaddress.ip_address(host.removeprefix("[").removesuffix("]")) == address
    assert host.startswith("[") == (address.version == 6)
    assert int(number) == port


@given(st.text(max_size=20) | st.ip_addresses().map(str))
def test_what_is_an_address_has_one_spelling(text):
    try:
        is_one = bool(addresses.canonical(text))
    except ValueError:
        is_one = False
    assert addresses.is_address(text) is is_one
