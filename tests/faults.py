"""Faults of the network, as context managers."""

import contextlib
import os
from collections.abc import Iterator

from astropix_stream.sock import MulticastSender


@contextlib.contextmanager
def failing_sends(sender: MulticastSender, *numbers: int) -> Iterator[None]:
    """Let each send of `sender` fail with one of the errnos, in turn; 0 stands for one that works."""
    sendto, calls = sender._sendto, 0

    def fail(data: bytes, address: tuple[str, int]) -> int:
        nonlocal calls
        number = numbers[calls % len(numbers)]
        calls += 1
        if number:
            raise OSError(number, os.strerror(number))
        return sendto(data, address)

    sender._sendto = fail  # type: ignore[assignment]
    try:
        yield
    finally:
        sender._sendto = sendto
