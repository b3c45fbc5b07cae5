"""The shell around the accumulator: one thread receives, another decodes what has gathered.

So the receiver is never kept waiting by a large batch or a slow page: what the decoder cannot take in time is
skipped and counted, before it could pile up here or in the relay.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from astropix_analysis import clock
from astropix_analysis.errors import ReceiveTimeout
from astropix_analysis.ledger import Ledger
from astropix_analysis.monitor.accumulate import Accumulator, Arrival
from astropix_analysis.receiver import Receiver

GATHER_S = 0.25  # between decodings: a call costs 0.12 ms however little it gets
MAX_WAITING = 16 << 20  # bytes of readouts that may wait to be decoded: about half a second of decoding
_LEDGER_EVERY_S = 0.25


class Feed:
    """Fills an accumulator from a receiver, in threads of its own.

    Parameters
    ----------
    receiver
        The feed owns it from now on, and closes it.
    source
        Where the readouts come from, as a person wrote it.

    Attributes
    ----------
    lock
        Hold it while you look at `accumulator`.
    error
        Why it ended by itself; None as long as it goes on.
    """

    def __init__(self, receiver: Receiver[Any], source: str) -> None:
        self.accumulator = Accumulator(clock.now(), source)
        self.lock = threading.Lock()
        self.error: Exception | None = None
        self._receiver = receiver
        self._stop = threading.Event()
        self._inbox = _Inbox()
        self._account: tuple[Ledger, str | None] = (receiver.ledger, None)
        self._threads = [
            threading.Thread(target=self._run, args=[part], name=f"monitor-{name}", daemon=True)
            for name, part in (("receive", self._receive), ("decode", self._decode))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End both threads; a second call does nothing."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, part: Callable[[], None]) -> None:
        try:
            part()
        except Exception as error:  # whatever it is: a page that stands still has to say why
            self.error = error
            self._stop.set()

    def _receive(self) -> None:
        with self._receiver as receiver:
            noted_s = float("-inf")
            while not self._stop.is_set():
                with contextlib.suppress(ReceiveTimeout):
                    batch = receiver.receive_batch(_LEDGER_EVERY_S)
                    ledger = receiver.ledger if batch.runs else None
                    self._inbox.put(Arrival(batch, clock.now(), ledger=ledger))
                if time.monotonic() - noted_s >= _LEDGER_EVERY_S:
                    self._account = (receiver.ledger, trouble(receiver))
                    noted_s = time.monotonic()

    def _decode(self) -> None:
        while not self._stop.wait(GATHER_S):
            ledger, why = self._account
            arrivals = self._inbox.take()
            with self.lock:
                self.accumulator.take(arrivals)
                self.accumulator.note_ledger(ledger, clock.now(), trouble=why)


class _Inbox:
    """Batches on their way from one thread to the other; those that are too many lose their payload."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # its own: drawing a page keeps nobody from receiving
        self._arrivals: list[Arrival] = []
        self._bytes = 0

    def put(self, arrival: Arrival) -> None:
        size = len(arrival.batch.payload)
        with self._lock:
            if self._bytes + size > MAX_WAITING:
                arrival = replace(arrival, batch=replace(arrival.batch, payload=b""), skipped=True)
            else:
                self._bytes += size
            self._arrivals.append(arrival)

    def take(self) -> list[Arrival]:
        with self._lock:
            arrivals, self._arrivals, self._bytes = self._arrivals, [], 0
        return arrivals


def trouble(receiver: Receiver[Any]) -> str | None:
    """Return why no readout can arrive; None if one can."""
    if not getattr(receiver, "connected", True):
        return f"{receiver} is not heard"
    report = getattr(receiver, "report", None) or {}
    if report.get("joined") is False:
        return f"the relay does not receive: {str(report.get('membership', ''))[:200]}"
    return None
