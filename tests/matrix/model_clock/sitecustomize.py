"""Shift the clocks of this process by what stands in the file APX_CLOCK: two i64, ns, monotonic and wall.

Python imports this by itself when the directory is on PYTHONPATH. The file is mapped, so that whoever
writes to it steps the clock of a running process. libfaketime does the same for any program, but is not on
every machine.
"""

import mmap
import os
import struct
import time

if "APX_CLOCK" in os.environ:
    with open(os.environ["APX_CLOCK"], "rb") as file:
        _map = mmap.mmap(file.fileno(), 16, prot=mmap.PROT_READ)
    _monotonic, _monotonic_ns, _time, _time_ns = time.monotonic, time.monotonic_ns, time.time, time.time_ns

    def _shift(index):
        return struct.unpack_from("<q", _map, 8 * index)[0]

    time.monotonic = lambda: _monotonic() + _shift(0) / 1e9
    time.monotonic_ns = lambda: _monotonic_ns() + _shift(0)
    time.time = lambda: _time() + _shift(1) / 1e9
    time.time_ns = lambda: _time_ns() + _shift(1)
