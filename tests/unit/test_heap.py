"""Freed memory goes back to the system."""

import subprocess
import sys

import pytest

PROGRAM = """
from astropix_stream import heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

blocks = [bytes(50_000) for _ in range(2000)]  # small enough for the heap
kept = blocks[::100]
del blocks
before = resident()
heap.give_back()
print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_what_lies_between_what_is_kept_goes_back():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 60
