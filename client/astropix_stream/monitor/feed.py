"""The shell around the accumulator: one thread receives, another decodes what has gathered.

So the receiver is never kept waiting by a large batch or a slow page: what is live and cannot be decoded in
time is skipped and counted, before it could pile up here or in the relay. What comes out of the relay's
history waits for us; there, the receiver waits for the decoder.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

from astropix_stream import clock
from astropix_stream.clock import Moment
from astropix_stream.errors import ReceiveTimeout, RefusedError
from astropix_stream.fmt import ASTROPIX4, Kind, kind_of
from astropix_stream.monitor.accumulate import Accumulator, Memory
from astropix_stream.monitor.arrivals import Arrival, Reception
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.drawing import encoded
from astropix_stream.monitor.geometry import Geometry
from astropix_stream.monitor.runs import RunData
from astropix_stream.monitor.setup import Setup, setup_of
from astropix_stream.monitor.shown import Reset, take_reset
from astropix_stream.monitor.status import make_status
from astropix_stream.monitor.view import View, make_view
from astropix_stream.monitor.words import stream_words
from astropix_stream.receiving.receiver import Receiver

RECEIVE_GATHER_S = 0.1  # that readouts may wait where they come fast; nobody who looks at the page sees it
GATHER_S = 0.25  # between decodings: a call costs 0.12 ms however little it gets
MAX_WAITING = 16 << 20  # bytes of readouts that may wait to be decoded: about half a second of decoding
_LEDGER_EVERY_S = 0.25
_STILL_S = (
    1.0  # between looks at what is known while nothing changes; a direct receiver asks the kernel for it
)
_IDLE_S = 0.5  # between looks at a receiver to which nothing comes

T = TypeVar("T")


class Feed:
    """Fills an accumulator from a receiver, in threads of its own.

    Parameters
    ----------
    receiver
        The feed owns it from now on, and closes it.
    source
        Where the readouts come from, as a person wrote it.
    kind
        What the readouts are; None takes the relay's word for it, and AstroPix 4 without.
    references
        Files to compare runs with.

    memory
        What a monitor before this one knew, to go on with.

    Attributes
    ----------
    error
        Why it ended by itself; None as long as it goes on.
    version
        Another one each time that something came, or the receiver told something new.
    """

    def __init__(
        self,
        receiver: Receiver[Any],
        source: str,
        kind: Kind | None = None,
        memory: Memory | None = None,
        references: Sequence[RunData] = (),
    ) -> None:
        self.source = source
        self._kind = kind
        self._accumulator = Accumulator(clock.now(), source, kind or ASTROPIX4)
        self._accumulator.references.extend(references)
        if memory is not None:
            self._accumulator.resume(memory, clock.now())
        self._views: dict[tuple[Choice, Reset | None], View] = {}  # of this turn
        self._stream_words: dict[str, str] = {}  # of this turn
        self.version = 0
        self._lock = threading.Lock()
        self.error: Exception | None = None
        self._receiver = receiver
        receiver.gather = RECEIVE_GATHER_S
        self._stop = threading.Event()
        self._inbox = Inbox()
        self._notes: Mapping[str, Any] = {}
        self._setup = setup_of({})
        self._first_report: dict[str, Any] | None = None
        self._relay_id: int | None = None
        self._reception = Reception(clock.now(), receiver.ledger)
        self._threads = [
            threading.Thread(target=self._run, args=[part], name=f"monitor-{name}", daemon=True)
            for name, part in (("receive", self._receive), ("decode", self._decode))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End both threads; a second call does nothing."""
        self._end()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def geometry(self) -> Geometry:
        """That of the kind of readouts of the present run."""
        return self._accumulator.geometry

    @property
    def setup(self) -> Setup:
        """How the run was taken, as the relay or the file says."""
        notes = self._receiver.notes
        if notes is not self._notes and notes != self._notes:
            self._notes, self._setup = notes, setup_of(notes)
        return self._setup

    def view(self, choice: Choice, reset: Reset | None = None) -> View:
        """Return what a viewer sees; those who want the same share it."""
        with self._lock:
            view = self._views.get((choice, reset))
            if view is None:
                view = self._views[choice, reset] = make_view(self._accumulator, choice, clock.now(), reset)
            return view

    def stream_words(self) -> dict[str, str]:
        """Return what is said of the stream, each word as JSON; all viewers share it."""
        with self._lock:
            if not self._stream_words:
                now = clock.now()
                self._stream_words = encoded(stream_words(make_status(self._accumulator, now), now))
            return self._stream_words

    def look(self, at: Callable[[Accumulator, Moment], T]) -> T:
        """Return what a function finds in the accumulator, which stands still meanwhile."""
        with self._lock:
            return at(self._accumulator, clock.now())

    def reset(self, choice: Choice) -> Reset | None:
        """Return what there is now, for a viewer who wants to see what comes from now on."""
        with self._lock:
            return take_reset(self._accumulator, choice, clock.now())

    def _end(self) -> None:
        self._stop.set()
        self._inbox.close()

    def _run(self, part: Callable[[], None]) -> None:
        try:
            part()
        except Exception as error:  # whatever it is: a page that stands still has to say why
            self.error = error
            self._end()

    def _receive(self) -> None:
        with self._receiver as receiver:
            refusal = ""
            noted_s = came_s = float("-inf")
            while not self._stop.is_set():
                idle = time.monotonic() - came_s > _IDLE_S
                try:
                    self._receive_one(receiver, _IDLE_S if idle else _LEDGER_EVERY_S)
                    refusal, came_s = "", time.monotonic()
                except ReceiveTimeout:
                    if receiver.ended:
                        self._note(self._ask(receiver, refusal))
                        self._stop.wait(_STILL_S)  # nothing more can come
                except RefusedError as error:  # it goes on trying
                    refusal = str(error)
                if time.monotonic() - noted_s >= (_STILL_S if idle else _LEDGER_EVERY_S):
                    self._note(self._ask(receiver, refusal))
                    noted_s = time.monotonic()

    def _note(self, reception: Reception) -> None:
        """Keep what the receiver tells of itself; if that is new, the page is to know it now."""
        before, self._reception = self._reception, reception
        if reception.differs(before):
            self._inbox.wake()

    def _ask(self, receiver: Receiver[Any], refusal: str) -> Reception:
        return Reception(
            clock.now(),
            receiver.ledger,
            receiver.state,
            receiver.age_s,
            receiver.lag_s,
            refusal or trouble(receiver),
            getattr(receiver, "report", None),
            self._relay_id,
            self._first_report,
            getattr(receiver, "stride", None) or 1,
            receiver.ended,
        )

    def _receive_one(self, receiver: Receiver[Any], timeout_s: float) -> None:
        try:
            batch = receiver.receive_batch(timeout_s)
        finally:
            self._note_first_report(receiver)
        self._inbox.put(Arrival(batch, clock.now()))

    def _note_first_report(self, receiver: Receiver[Any]) -> None:
        """Keep the relay's first heartbeat: what it counts afterwards is in the ledger."""
        reported = getattr(receiver, "reported", None)
        if self._first_report is None and reported is not None:
            self._first_report, self._relay_id = getattr(receiver, "report", None), reported.relay_id

    def _decode(self) -> None:
        while not self._stop.wait(GATHER_S):
            self._turn()
            self._inbox.wait(_STILL_S)
        self._turn()  # what came last is shown, too

    def _turn(self) -> None:
        reception = self._reception
        arrivals = self._inbox.take()
        uid = self._receiver.readout_uid
        with self._lock:
            if arrivals and self._kind is None and uid is not None:
                self._accumulator.set_kind(kind_of(uid))
            self.version += bool(arrivals) or reception.differs(self._accumulator.reception)
            self._accumulator.take(arrivals)
            self._accumulator.note(reception)
            self._views.clear()
            self._stream_words = {}


class Inbox:
    """Batches on their way from one thread to the other, up to a number of bytes.

    Parameters
    ----------
    limit
        Of the bytes, by default `MAX_WAITING`. What is live and comes beyond loses its payload; what is
        recovered waits.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = MAX_WAITING if limit is None else limit
        self._changed = threading.Condition()
        self._closed = self._woken = False
        self._arrivals: list[Arrival] = []
        self._bytes = 0

    def put(self, arrival: Arrival) -> None:
        """Add a batch."""
        size = len(arrival.batch.payload)
        with self._changed:
            if arrival.batch.recovered:
                self._changed.wait_for(lambda: self._closed or self._has_room(size))
            if self._has_room(size):
                self._bytes += size
            else:
                arrival = replace(arrival, batch=replace(arrival.batch, payload=b""), skipped=True)
            self._arrivals.append(arrival)
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Wait until there is something, or it is woken or closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._woken or self._arrivals, timeout_s)
            self._woken = False

    def wake(self) -> None:
        """Let nobody wait for batches now."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        return not self._bytes or self._bytes + size <= self._limit

    def take(self) -> list[Arrival]:
        """Return what has gathered."""
        with self._changed:
            arrivals, self._arrivals, self._bytes = self._arrivals, [], 0
            self._changed.notify_all()
        return arrivals

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def trouble(receiver: Receiver[Any]) -> str:
    """Return why no readout can arrive, or what is wrong with a file that was read; empty if all is well."""
    if receiver.ended:
        return receiver.trouble.removeprefix(f"{receiver}: ")
    report = getattr(receiver, "report", None) or {}
    if not receiver.connected:
        return str(getattr(receiver, "trouble", "")) or f"{receiver} is not heard"
    if report.get("joined") is False:
        return f"the relay does not receive: {str(report.get('membership', ''))[:200]}"
    return ""
