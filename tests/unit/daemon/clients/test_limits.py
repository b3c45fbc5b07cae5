"""What a connection may send, and whom the gate refuses for it: bytes and times in, verdicts out."""

from hypothesis import given
from hypothesis import strategies as st

from astropix_relay.clients import limits
from astropix_relay.clients.limits import Allowance, Bans, Candidate, Pace, to_cut

ALLOWANCE = Allowance(start=4096, per_s=64, most=16384)


def test_an_allowance_grows_with_age_and_has_an_end():
    assert ALLOWANCE.bytes_at(0) == 4096
    assert ALLOWANCE.bytes_at(10) == 4096 + 640
    assert ALLOWANCE.bytes_at(1e6) == 16384
    assert ALLOWANCE.bytes_at(1e6, earned=512) == 16384 + 512


def cut_often(bans, address="192.0.2.7", at_s=0.0):
    return [bans.cut(address, at_s + i) for i in range(limits.CUTS)]


def test_three_cuts_in_a_minute_make_a_ban_of_a_minute():
    bans = Bans()
    assert cut_often(bans) == [None, None, 60.0]
    assert bans.is_banned("192.0.2.7", 61.9)
    assert bans.count(61.9) == 1
    assert not bans.is_banned("192.0.2.7", 62.0)
    assert not bans.is_banned("192.0.2.8", 10.0)


def test_three_cuts_over_more_than_a_minute_are_none():
    bans = Bans()
    assert [bans.cut("192.0.2.7", t) for t in (0, 30, 60, 90, 120)] == [None] * 5


def test_the_next_ban_is_longer_up_to_an_hour_and_is_forgotten_in_the_end():
    bans, lengths, at_s = Bans(), [], 0.0
    for _ in range(9):
        length_s = cut_often(bans, at_s=at_s)[-1]
        lengths.append(length_s)
        at_s += 3 + length_s
    assert lengths == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert cut_often(bans, at_s=at_s + 700)[-1] == 60


def test_addresses_and_networks_that_are_never_refused():
    bans = Bans(["192.0.2.7/32", "2001:db8::/32", "10.1.0.0/16"])
    for address in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8:1::5", "10.1.2.3"):
        assert cut_often(bans, address)[-1] is None
        assert not bans.is_banned(address, 3.0)
    assert cut_often(bans, "10.2.0.1")[-1] == 60


def test_a_host_is_an_ipv4_address_or_a_network_of_ipv6():
    bans = Bans()
    for i in range(limits.CUTS):
        bans.cut(f"2001:db8::{i}", float(i))
    assert bans.is_banned("2001:db8::ffff", 5.0)
    assert not bans.is_banned("2001:db8:0:1::1", 5.0)
    cut_often(bans, "::ffff:127.0.0.1")
    assert bans.is_banned("127.0.0.1", 5.0)


def test_what_is_remembered_is_bounded():
    bans = Bans()
    for i in range(20_000):
        bans.cut(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", 0.0)
    assert len(bans._hosts) == limits._MAX_ADDRESSES


def test_a_flood_of_refusals_is_shut_out_for_a_while():
    bans = Bans(["192.0.2.9/32"])
    for i in range(limits.FLOOD_PER_S):
        bans.refused("192.0.2.7", i / 1000)
    assert bans.shut_out(0.3) == []
    for _ in range(limits.FLOOD_PER_S + 1):
        bans.refused("192.0.2.7", 0.3)
        bans.refused("192.0.2.9", 0.3)
    assert [str(host) for host in bans.shut_out(0.3)] == ["192.0.2.7/32"]
    assert bans.shut_out(10.4) == []


def test_a_slow_series_of_refusals_is_none():
    bans = Bans()
    for i in range(5000):
        bans.refused("192.0.2.7", i / 10)
    assert bans.shut_out(500.0) == []


def test_a_ban_that_is_flooded_is_shut_out_to_its_end():
    bans = Bans()
    cut_often(bans)
    for _ in range(limits.FLOOD_PER_S + 1):
        bans.refused("192.0.2.7", 3.0)
    assert bans.shut_out(61.0)
    assert not bans.shut_out(62.0)


def test_clients_come_in_at_once_after_a_start_and_slowly_after_cuts():
    pace = Pace()
    assert [pace.lets_in(0.0) for _ in range(65)] == [True] * 64 + [False]
    assert [pace.lets_in(1.0) for _ in range(17)] == [True] * 16 + [False]
    pace.lets_in(100.0)
    for _ in range(4):
        pace.cut()
    assert not pace.lets_in(100.0)
    assert pace.lets_in(100.1)


def test_all_that_may_be_in_come_in_at_once_after_a_start():
    pace = Pace(400)
    assert [pace.lets_in(0.0) for _ in range(401)] == [True] * 400 + [False]
    assert [pace.lets_in(1.0) for _ in range(101)] == [True] * 100 + [False]


@given(st.lists(st.tuples(st.integers(0, 600), st.integers(1, 20)), max_size=50), st.integers(0, 60))
def test_only_as_many_are_cut_as_have_to_be_and_the_silent_first(told, count):
    candidates = [Candidate(fd, sent, beside) for fd, (sent, beside) in enumerate(told)]
    gone = to_cut(candidates, count, 5, 91)
    silent = [one.fd for one in candidates if one.sent < 91]
    assert len(set(gone)) == len(gone) <= count + 5
    assert gone[: len(silent)] == silent[: len(gone)]
    if len(silent) < count:
        assert len(gone) == min(count, len(candidates))


def test_the_only_connection_of_a_host_is_the_last_to_go():
    crowd = [Candidate(0, 137, 1), *(Candidate(fd, 137, 9) for fd in range(1, 10))]
    assert 0 not in to_cut(crowd, 9, 64, 91)
