"""Why a relay does not let us in."""

import errno

import pytest

from astropix_stream.relay.refusals import REFUSAL_PATIENCE_S, HandshakeEnd, Handshakes


def test_a_client_that_was_in_hopes_for_20_s():
    """Its own dead connection may be in its place."""
    follow = Handshakes(encrypted=True)
    follow.note(HandshakeEnd.SUCCEEDED, 0, 0.0)
    for now_s in (10.0, 15.0, 29.9):
        follow.note(HandshakeEnd.FAILED_AUTH, 500, now_s)
        assert follow.take_refusal(now_s) is None
    assert "as many clients as it takes" in follow.take_refusal(30.0)
    assert follow.take_refusal(31.0) is None
    follow.note(HandshakeEnd.FAILED_AUTH, 500, 35.0)
    assert follow.take_refusal(35.0)
    follow.note(HandshakeEnd.SUCCEEDED, 0, 40.0)
    follow.note(HandshakeEnd.FAILED_AUTH, 500, 41.0)
    assert follow.take_refusal(41.0) is None


def test_a_client_whose_key_was_removed_learns_it_soon():
    follow = Handshakes(encrypted=True)
    follow.note(HandshakeEnd.SUCCEEDED, 0, 0.0)
    follow.note(HandshakeEnd.FAILED_AUTH, 400, 10.0)
    assert follow.take_refusal(10.5) is None, "its file may be on its way"
    assert "our key is not in its list" in follow.take_refusal(11.1)


def test_a_relay_that_stops_is_not_one_that_refuses():
    follow = Handshakes(encrypted=False)
    for now_s in (0.0, 0.1):
        follow.note(HandshakeEnd.BROKEN_OFF, 104, now_s)
        assert follow.take_refusal(now_s) is None
    follow.note(HandshakeEnd.BROKEN_OFF, errno.EAGAIN, 0.2)
    assert follow.take_refusal(0.2) is None


@pytest.mark.parametrize(
    ("event", "value", "encrypted", "said"),
    [
        (
            HandshakeEnd.FAILED_AUTH,
            400,
            True,
            "our key is not in its list, or it has as many clients as it takes",
        ),
        (HandshakeEnd.FAILED_AUTH, 400, False, "it has as many clients as it takes (publish.max_clients)"),
        (HandshakeEnd.FAILED_AUTH, 500, True, "it could not look up its list of clients"),
        (HandshakeEnd.OTHER_SECURITY, 0, True, "it is not encrypted: leave out server_key and key_file"),
        (HandshakeEnd.OTHER_SECURITY, 0, False, "it is encrypted: give server_key and key_file"),
        (
            HandshakeEnd.FAILED_PROTOCOL,
            0x10000001,
            True,
            "it does not speak ZeroMQ's protocol (error 0x10000001)",
        ),
    ],
)
def test_a_reason_is_told_at_once_and_once(event, value, encrypted, said):
    follow = Handshakes(encrypted=encrypted)
    assert follow.take_refusal(0.0) is None
    follow.note(event, value, 1.0)
    assert follow.take_refusal(1.0).startswith(said)
    assert follow.take_refusal(2.0) is None
    follow.note(event, value, 3.0)
    assert follow.take_refusal(3.0).startswith(said)


@pytest.mark.parametrize(
    ("encrypted", "said"),
    [(True, "server_key may not be its key, it may not be encrypted"), (False, "it may be encrypted")],
)
def test_a_relay_that_breaks_off_again_and_again_refuses(encrypted, said):
    follow = Handshakes(encrypted=encrypted)
    for now_s in (0.0, 0.1):
        follow.note(HandshakeEnd.BROKEN_OFF, errno.EPIPE, now_s)
        assert follow.take_refusal(now_s) is None
    follow.note(HandshakeEnd.BROKEN_OFF, errno.EPIPE, 0.2)
    assert follow.take_refusal(0.2) == f"it breaks off the handshake: {said}, or it is not a relay"


def test_one_that_broke_off_twice_and_then_let_us_in_begins_from_none():
    follow = Handshakes(encrypted=False)
    for event in (HandshakeEnd.BROKEN_OFF, HandshakeEnd.BROKEN_OFF, HandshakeEnd.SUCCEEDED) * 3:
        follow.note(event, errno.EPIPE, 0.0)
        assert follow.take_refusal(REFUSAL_PATIENCE_S) is None
