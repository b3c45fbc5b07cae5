"""Wait for descriptors in an event loop: asyncio's own, uvloop, and Windows' proactor, which takes none."""

import asyncio
from collections.abc import Sequence

from astropix_stream.receiving.readiness import wait_any_readable

_THREAD_S = 0.1  # longest wait of a thread: a task that was cancelled is not to leave one behind for longer


async def readable(fds: Sequence[int], timeout_s: float) -> None:
    """Wait until one of some descriptors is readable, at most `timeout_s`."""
    loop = asyncio.get_running_loop()
    waiting = loop.create_future()

    def wake() -> None:
        if not waiting.done():
            waiting.set_result(None)

    watched: list[int] = []
    try:
        for fd in fds:
            loop.add_reader(fd, wake)
            watched.append(fd)
    except NotImplementedError:
        await asyncio.to_thread(wait_any_readable, fds, min(timeout_s, _THREAD_S))
        return
    timer = loop.call_later(timeout_s, wake)
    try:
        await waiting
    finally:
        timer.cancel()
        for fd in watched:
            loop.remove_reader(fd)
