"""Freed memory goes back to the system, when clients have left."""

import threading

import pytest

from astropix_relay.host.memory import Returning


class Trims:
    """Counts, and may take its time."""

    def __init__(self):
        self.count = 0
        self.may_end = threading.Event()
        self.may_end.set()
        self.ended = threading.Semaphore(0)

    def __call__(self):
        self.count += 1
        self.may_end.wait(10)
        self.ended.release()


@pytest.fixture
def trims():
    return Trims()


def tick(returning, trims, ended):
    """Tick, and wait for the trim if there is one; return how many there were."""
    before = trims.count
    returning.tick(ended)
    thread = returning._thread
    if thread is not None:
        thread.join(10)
    return trims.count - before


def test_once_after_the_start_and_twice_after_connections_have_ended(trims):
    returning = Returning(trims)
    assert [tick(returning, trims, ended) for ended in (0, 0, 0)] == [1, 0, 0]
    assert [tick(returning, trims, ended) for ended in (5, 5, 5)] == [1, 1, 0]
    assert [tick(returning, trims, ended) for ended in (6, 7, 7, 7)] == [1, 1, 1, 0]


def test_one_at_a_time_and_what_was_missed_is_made_up_for(trims):
    returning = Returning(trims)
    assert tick(returning, trims, 0) == 1
    trims.may_end.clear()
    returning.tick(1)
    returning.tick(2)
    returning.tick(2)
    assert trims.count == 2
    trims.may_end.set()
    returning._thread.join(10)
    assert [tick(returning, trims, 2) for _ in range(2)] == [1, 0]


def test_without_a_thread_it_is_done_another_time(trims, monkeypatch):
    returning = Returning(trims)

    def start(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert tick(returning, trims, 0) == 0
    assert [tick(returning, trims, 0) for _ in range(2)] == [1, 0]


def test_the_real_one_gives_back_what_lies_between():
    """Half of many blocks are freed; each of the others keeps the C library from shrinking its heap."""
    import ctypes

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = (
        *(ctypes.c_void_p, [ctypes.c_size_t]),
        [ctypes.c_void_p],
    )
    blocks = [libc.malloc(16384) for _ in range(2000)]
    for block in blocks:
        ctypes.memset(block, 1, 16384)
    for block in blocks[::2]:
        libc.free(block)
    before = resident()
    returning = Returning()
    returning.tick(0)
    returning._thread.join(10)
    assert before - resident() > 4 << 20
    for block in blocks[1::2]:
        libc.free(block)
