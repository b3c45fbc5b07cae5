"""Gives memory that was freed back to the system: the C library keeps it, in case it is wanted again.

With another C library than glibc, nothing is done.
"""

import contextlib
import ctypes

_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE = 256 << 10  # bytes


def give_back_large_blocks() -> None:
    """Have blocks of 256 KiB and more come from the system, and go back when they are freed (mallopt(3)).

    Left to itself, the C library raises that limit to 32 MiB with the first large blocks that are freed. For
    programs that make arrays of a MiB again and again, and keep little: what they keep then lies between what
    they do not, and the process grows.
    """
    with contextlib.suppress(AttributeError, TypeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """Give back what is free between what is in use (malloc_trim(3)).

    It takes 0.1 ms for each MiB, without the interpreter's lock.
    """
    with contextlib.suppress(AttributeError, TypeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
