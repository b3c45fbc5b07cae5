"""Readouts that come back from another source: known by their bytes, for half a second."""

from astropix_relay.echoes import BACK_WITHIN_S, HELD_S, LOOKS_LIKE_LOOP, MAX_KNOWN, Echoes
from astropix_stream.batch import Source

DAQ, OTHER = Source("10.0.0.1", 4000), Source("10.0.0.9", 4001)


def test_a_readout_that_comes_again_from_another_source_is_an_echo():
    echoes = Echoes()
    assert not echoes.is_one(b"one", DAQ, 1.0)
    assert not echoes.is_one(b"two", OTHER, 1.0)
    assert echoes.is_one(b"one", OTHER, 1.0 + BACK_WITHIN_S)
    assert (echoes.count, echoes.source, echoes.look_like_loop(2.0)) == (1, OTHER, False)


def test_a_source_may_repeat_itself():
    echoes = Echoes()
    assert [echoes.is_one(b"one", DAQ, 1.0) for _ in range(100)] == [False] * 100


def test_a_file_that_is_played_again_is_none():
    echoes = Echoes()
    assert not echoes.is_one(b"one", DAQ, 1.0)
    assert not echoes.is_one(b"one", OTHER, 1.1 + BACK_WITHIN_S)
    assert echoes.count == 0


def looks_like_loop(at_s):
    """Return echoes that have just begun to look like a loop."""
    echoes = Echoes()
    for i in range(LOOKS_LIKE_LOOP):
        assert not echoes.look_like_loop(at_s)
        echoes.is_one(bytes([i]), DAQ, at_s - 0.1)
        echoes.is_one(bytes([i]), OTHER, at_s)
    assert echoes.look_like_loop(at_s)
    assert not echoes.look_like_loop(at_s)
    return echoes


def test_it_is_a_loop_where_nothing_comes_again_that_was_held():
    echoes = looks_like_loop(at_s=1.0)
    echoes.is_one(b"held", DAQ, 1.1)
    assert not echoes.are_a_loop(1.1 + BACK_WITHIN_S - 0.01)
    assert echoes.are_a_loop(1.1 + BACK_WITHIN_S)
    assert echoes.source == OTHER


def test_copies_of_what_was_held_are_no_loop_from_then_on():
    echoes = looks_like_loop(at_s=1.0)
    echoes.is_one(b"held", DAQ, 1.1)
    assert echoes.is_one(b"held", OTHER, 1.2)
    for at_s in (1.6, 1.1 + HELD_S, 5.0):
        assert not echoes.are_a_loop(at_s)
    for i in range(100):
        echoes.is_one(bytes([i]), DAQ, 5.0)
        assert echoes.is_one(bytes([i]), OTHER, 5.0)
    assert not echoes.look_like_loop(5.0)


def test_what_was_sent_at_the_moment_it_looked_like_a_loop_says_nothing():
    """It was sent before the output began to hold."""
    echoes = looks_like_loop(at_s=1.0)
    assert echoes.is_one(bytes([0]), OTHER, 1.01)
    echoes.is_one(b"held", DAQ, 1.1)
    assert echoes.are_a_loop(1.1 + BACK_WITHIN_S)


def test_what_is_held_too_late_to_tell_says_nothing():
    """Its copy may come after it was sent."""
    echoes = looks_like_loop(at_s=1.0)
    echoes.is_one(b"late", DAQ, 1.0 + HELD_S - 0.1)
    echoes.is_one(b"late", OTHER, 1.0 + HELD_S + 0.1)
    assert not echoes.are_a_loop(10.0)
    assert not echoes.look_like_loop(10.0)
    for i in range(LOOKS_LIKE_LOOP):
        echoes.is_one(bytes([i]), DAQ, 10.0)
        echoes.is_one(bytes([i]), OTHER, 10.0)
    assert echoes.look_like_loop(10.0)


def test_only_so_many_are_known():
    echoes = Echoes()
    for i in range(MAX_KNOWN + 10):
        echoes.is_one(i.to_bytes(4), DAQ, 1.0)
    assert not echoes.is_one(bytes(4), OTHER, 1.0)
    assert echoes.is_one((MAX_KNOWN + 9).to_bytes(4), OTHER, 1.0)
