"""Freed memory goes back to the system.

Each in a program of its own: what the C library was told once stays so.
"""

import subprocess
import sys

import pytest

BEGIN = """
from astropix_stream import heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

"""
BETWEEN = """
blocks = [b"x" * 50_000 for _ in range(2000)]  # small enough for the heap
kept = blocks[::100]
del blocks
before = resident()
heap.give_back()
print(before - resident())
"""


LARGE = """
b"x" * (8 << 20)  # from now on, 8 MiB is not large
before = resident()
blocks = [b"x" * (1 << 20) for _ in range(50)]
kept = [b"x" * 200_000 for _ in range(3)]
del blocks
print(resident() - before)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's")


def printed(program):
    done = subprocess.run([sys.executable, "-c", BEGIN + program], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_what_lies_between_what_is_kept_goes_back():
    assert printed(BETWEEN) > 60


def test_large_blocks_go_back_at_once():
    assert printed("heap.keep_little()" + LARGE) < 5
    assert printed(LARGE) > 40
