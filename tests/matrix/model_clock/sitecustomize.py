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

if "APX_WATCHDOG" in os.environ:
    # Say in a file each turn of the relay's loop that is longer than 50 ms, without the time that the loop
    # waited for a processor: the kernel tells it, and this machine has others to serve.
    from astropix_relay import samples

    _LIMIT_S = 0.05
    _file = os.open(os.environ["APX_WATCHDOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    _begin = samples.Turns.__init__

    def _watched(turns):
        _begin(turns)
        told = os.open("/proc/thread-self/schedstat", os.O_RDONLY)  # now: later there may be no descriptor

        def _waited_s():
            return int(os.pread(told, 100, 0).split()[1]) / 1e9

        note, before = turns.note, [_waited_s()]

        def watch(seconds):
            note(seconds)
            waited = _waited_s()
            took = seconds - (waited - before[0])
            if took > _LIMIT_S:
                os.write(_file, f"a turn took {took * 1e3:.0f} ms\n".encode())
            before[0] = waited

        turns.note = watch

    setattr(samples.Turns, "__init__", _watched)  # noqa: B010
