"""Gives the memory of clients that have left back to the system.

What clients made the relay hold, queues and topics and half messages, libzmq frees when they leave. That lies
between what is still in use, and stays with the process until somebody asks for it (malloc_trim(3)).
"""

import threading
from collections.abc import Callable

from astropix_stream import heap


class Returning:
    """Gives memory back after connections have ended, and once after the start.

    Parameters
    ----------
    trim
        Gives it back, in a thread of its own.
    """

    def __init__(self, trim: Callable[[], None] = heap.give_back) -> None:
        self._trim = trim
        self._ended = 0
        self._once_more = True
        self._thread: threading.Thread | None = None

    def tick(self, ended: int) -> None:
        """Say how many connections have ended so far; for each second or so.

        What a connection held is freed soon after its end, and not at once. So it is done once more.
        """
        changed, self._ended = ended != self._ended, ended
        if not (changed or self._once_more) or (self._thread is not None and self._thread.is_alive()):
            return
        self._once_more = changed
        self._thread = threading.Thread(target=self._trim, name="memory", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread to be had: another time
            self._thread, self._once_more = None, True
