"""Readouts that come back from another source: known by their bytes, for half a second."""

from astropix_relay.echoes import BACK_WITHIN_S, LOOP_AFTER, MAX_KNOWN, Echoes
from astropix_stream.batch import Source

DAQ, OTHER = Source("10.0.0.1", 4000), Source("10.0.0.9", 4001)


def test_a_readout_that_comes_again_from_another_source_is_an_echo():
    echoes = Echoes()
    assert not echoes.is_one(b"one", DAQ, 1.0)
    assert not echoes.is_one(b"two", OTHER, 1.0)
    assert echoes.is_one(b"one", OTHER, 1.0 + BACK_WITHIN_S)
    assert (echoes.count, echoes.are_a_loop) == (1, False)


def test_a_source_may_repeat_itself():
    echoes = Echoes()
    assert [echoes.is_one(b"one", DAQ, 1.0) for _ in range(100)] == [False] * 100


def test_a_file_that_is_played_again_is_none():
    echoes = Echoes()
    assert not echoes.is_one(b"one", DAQ, 1.0)
    assert not echoes.is_one(b"one", OTHER, 1.1 + BACK_WITHIN_S)
    assert echoes.count == 0


def test_ten_of_them_are_a_loop():
    echoes = Echoes()
    for i in range(LOOP_AFTER):
        assert not echoes.are_a_loop
        echoes.is_one(bytes([i]), DAQ, 1.0)
        echoes.is_one(bytes([i]), OTHER, 1.1)
    assert echoes.are_a_loop


def test_only_so_many_are_known():
    echoes = Echoes()
    for i in range(MAX_KNOWN + 10):
        echoes.is_one(i.to_bytes(4), DAQ, 1.0)
    assert not echoes.is_one(bytes(4), OTHER, 1.0)
    assert echoes.is_one((MAX_KNOWN + 9).to_bytes(4), OTHER, 1.0)
