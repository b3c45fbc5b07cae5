"""What all receivers share: batches in, one readout at a time out.

They differ in where batches come from; a monitor does not notice.
"""

import contextlib
import select
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from operator import length_hint
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from astropix_stream import clock
from astropix_stream.arguments import check_seconds
from astropix_stream.batch import Batch, RunStart
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.state import State, StateTracker
from astropix_stream.errors import ClosedError, ConfigError, ReceiveTimeout
from astropix_stream.gathering import Gathering
from astropix_stream.receiving.making import MAX_SIZE, Maker
from astropix_stream.receiving.readiness import Readiness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from astropix_stream.receiving.tables import HitTables

MAX_GATHER_S = 1.0
_LOOK_S = 1.0  # between looks at the ledger for new losses: a sum over all sources


class _Own:
    """Stands for the receiver's own timeout, since None means without end."""

    def __repr__(self) -> str:
        return "receiver.timeout"


_OWN: Any = _Own()
_NONE: Any = object()  # no readout; None could be one


R = TypeVar("R")


class Receiver(ABC, Generic[R]):
    """Hands out readouts one by one from the batches that a subclass receives.

    One thread owns a receiver.

    Parameters
    ----------
    readout_class
        Class of the readouts to return, with ``from_bytes(bytes)``.
    timeout
        Seconds that `receive` and iteration wait for a readout; None waits without limit.

    Raises
    ------
    TypeError
        The class has no ``from_bytes``.
    """

    def __init__(self, readout_class: type[R], *, timeout: float | None = None) -> None:
        self._readout_class = readout_class
        maker = self._maker = Maker(readout_class)
        # What is called with each readout, without a way over the maker.
        self._make, self._decode = maker.of_datagrams, maker.of_batch
        self._from_fields, self._from_payload = maker.from_fields, maker.from_payload
        self._batches: deque[Batch] = deque()
        self._decoded: list[R] = []
        self._readouts = iter(self._decoded)  # those of them that are to be handed out
        self._readiness: Readiness | None = None
        self._tables: HitTables | None = None  # of `columns`
        self._told = 0  # of the runs of the first batch, to `on_run`
        self._closed = False
        self._has_paused = True
        self._gathering = Gathering()
        self._tracker = StateTracker()
        self._look_at_s = float("-inf")
        self.timeout = check_seconds("timeout", timeout)
        self.on_run: Callable[[RunStart], None] | None = None
        """Called with each run of the DAQ that begins, before its first readout is handed out, or its second
        where only that showed that it began (`RunStart.before`). If it raises, the exception comes out of
        `receive`, and the next call goes on with what had been received."""
        self.ended = False
        """Whether no more readouts will come: the end of a file. `receive` then raises `ReceiveTimeout`."""

    @property
    def undecodable(self) -> int:
        """Readouts that the readout class refused, or larger than `max_size`."""
        return self._maker.refused

    @property
    def connected(self) -> bool:
        """Whether readouts can arrive: the relay is heard; the interface is there and has a link."""
        return True

    @property
    def ready(self) -> bool:
        """Whether the way to the readouts works, as far as is known."""
        return True

    @property
    def trouble(self) -> str:
        """Why readouts cannot arrive, as far as is known; empty if they can, or could if any were sent."""
        return ""

    @abstractmethod
    def address(self) -> Any:
        """Return where the readouts come from: (group, port), an endpoint, or a tuple of several of these."""

    @property
    def stream(self) -> str | None:
        """The stream's name at a relay; None where it has none, or the relay has not told it."""
        return None

    @property
    def stride(self) -> int:
        """The DAQ multicasts one readout in so many, as given or told: ids that grow by this are no loss."""
        return 1

    @property
    def rejected(self) -> Counter[str]:
        """Datagrams that were not readouts, by reason (see `multicast.intake`), where we saw them."""
        return Counter()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the way to the readouts works; where nothing tells of that, as here, return at once."""

    @property
    def notes(self) -> Mapping[str, Any]:
        """What is said of the setup, by names, for people: by a relay's operator, or at the top of a file."""
        return {}

    @property
    def readout_uid(self) -> int | None:
        """The kind of the readouts, as the relay says; None where nobody says it, or has not yet."""
        return None

    @property
    @abstractmethod
    def ledger(self) -> Ledger:
        """What was delivered so far, and what was lost where."""

    @property
    def state(self) -> State:
        """What the stream is doing, in the word that the relay and all programs use for it.

        It follows what is received: a program that asks for it has to go on receiving.
        """
        now = clock.now()
        self._note_losses(now)
        return self._tracker.state(now, connected=self._can_arrive())

    @property
    def age_s(self) -> float | None:
        """Seconds since the last readout arrived; None before the first."""
        self._settle()
        return self._tracker.age_s(clock.now())

    @property
    def lag_s(self) -> float:
        """Seconds by which readouts arrive later than the fastest of their source in ten minutes."""
        self._settle()
        return self._tracker.lag_s

    def _can_arrive(self) -> bool:
        """Return whether readouts would arrive if the DAQ sent any."""
        return self.connected

    @abstractmethod
    def _receive_batches(self, timeout_s: float | None) -> list[Batch]:
        """Wait once, at most `timeout_s` (None: no limit); an empty list does not mean that it passed."""

    def _take_few(self, deadline: float | None) -> list[R]:
        """Return readouts on the shortest way, if this receiver has one; nothing if all is to be done."""
        return []

    def _settle(self) -> None:
        """Count what `_take_few` has left to be counted later."""

    @abstractmethod
    def _watched_fds(self) -> list[int]:
        """Return the descriptors that are readable when the network has something."""

    def _unread(self) -> bool:
        """Whether something waits that the descriptors do not tell of a second time."""
        return False

    @abstractmethod
    def _close(self) -> None:
        """Release what the subclass opened."""

    def receive(self, max_size: int = MAX_SIZE, timeout: float | None = _OWN) -> R:
        """Return the next readout.

        Parameters
        ----------
        max_size
            A readout of more bytes than this is skipped and counted as `undecodable`.
        timeout
            Seconds to wait; None waits without limit, 0 not at all. By default the receiver's own `timeout`.

        Raises
        ------
        ReceiveTimeout
            Nothing arrived in time.
        ClosedError
            The receiver is closed.
        """
        readout = next(self._readouts, _NONE)
        if readout is _NONE:
            return self._receive_next(max_size, self._deadline(timeout))
        self._tell_readiness()
        return readout

    def _receive_next(self, max_size: int, deadline: float | None) -> R:
        """Return the next readout, where none is left that was decoded before."""
        while True:
            few: list[R] = []
            if self.on_run is None and self._readiness is None and not self._batches and max_size == MAX_SIZE:
                few = self._take_few(deadline)  # wanted one by one, with nothing told of them beside
                if len(few) == 1:
                    return few[0]
            self._decoded = few or self._decode(self._next_batch(deadline), max_size)
            self._readouts = iter(self._decoded)
            for readout in self._readouts:
                self._tell_readiness()
                return readout
            if not self._batches and _has_passed(deadline):
                raise self._timeout()  # all that came was refused: that must not go on without end

    def receive_batch(self, timeout: float | None = _OWN) -> Batch:
        """Return the next readouts of one source as bytes and columns, to record them or decode many at once.

        A receiver is read with this or with `receive`, not with both: what `receive` has begun to hand out
        does not come here.

        Raises
        ------
        ReceiveTimeout, ClosedError
            As `receive`.
        """
        batch = self._next_batch(self._deadline(timeout))
        self._tell_readiness()
        return batch

    def columns(self, seconds: float = 5.0) -> "NDArray[Any]":
        """Receive for some seconds, and return the hits of all readouts as a table (extra ``columns``).

        A hit that was split between two readouts is joined, also from one call to the next; duplicates are
        left out. As with `receive_batch`, read a receiver with this or with `receive`, not with both.

        Parameters
        ----------
        seconds
            How long to receive. 0 returns what has arrived by now.

        Returns
        -------
        ndarray
            Structured array of `columns.hit_dtype`, in order of arrival; empty if nothing came.

        Raises
        ------
        ConfigError
            `seconds` is no time to wait, or the receiver's class of readouts has no kind.
        ImportError
            NumPy is not installed.
        ClosedError
            The receiver is closed.

        Examples
        --------
        >>> hits = receiver.columns(seconds=5)  # doctest: +SKIP
        >>> np.bincount(hits["row"], minlength=16)  # doctest: +SKIP
        """
        from astropix_stream.receiving.tables import HitTables  # noqa: PLC0415  (brings NumPy)

        if not 0 <= seconds < float("inf"):
            raise ConfigError(f"seconds must be 0 or more, not {seconds!r}")
        tables = self._tables = self._tables or HitTables(self._readout_class)
        deadline = time.monotonic() + seconds
        with contextlib.suppress(ReceiveTimeout):
            tables.add(self.receive_batch(seconds))
            while self._batches or not _has_passed(deadline):  # what had come by then is in the table
                tables.add(self.receive_batch(max(0.0, deadline - time.monotonic())))
        return tables.take()

    def __iter__(self) -> Iterator[R]:
        """Iterate over readouts, until the receiver's own timeout passes without one or it is closed."""
        while not self._closed:
            try:
                yield self.receive() if self._left() else self._receive_next(MAX_SIZE, self._deadline(_OWN))
            except ReceiveTimeout:
                return
            if self._readiness is None:
                yield from self._readouts  # 30 ns each, where `receive` takes 300

    async def receive_async(self, max_size: int = MAX_SIZE, timeout: float | None = _OWN) -> R:
        """Return the next readout, as `receive`, and let the event loop's other tasks run meanwhile.

        One task at a time reads a receiver; a task that is cancelled loses nothing.
        """
        deadline = self._deadline(timeout)
        while True:
            try:
                if self._left() or self._batches:
                    return self.receive(max_size, 0.0)
                await self._await_batch(deadline)
            except ReceiveTimeout:
                if self.ended or _has_passed(deadline):
                    raise

    async def receive_batch_async(self, timeout: float | None = _OWN) -> Batch:
        """Return the next readouts of one source, as `receive_batch`, while other tasks run."""
        await self._await_batch(self._deadline(timeout))
        return self.receive_batch(0.0)

    async def __aiter__(self) -> AsyncIterator[R]:
        """Iterate over readouts, as `__iter__`, while other tasks run."""
        while not self._closed:
            try:
                yield await self.receive_async()
            except ReceiveTimeout:
                return
            for readout in self._readouts:
                yield readout

    async def _await_batch(self, deadline: float | None) -> None:
        """Wait until a batch is there.

        Raises
        ------
        ReceiveTimeout
            None came before the deadline.
        """
        from asyncio import sleep  # noqa: PLC0415  (a DAQ does not pay for it)

        from astropix_stream.receiving import awaiting  # noqa: PLC0415

        self._check_open()
        gather_s = self._gather_s()
        if gather_s > 0 or not self._has_paused:  # other tasks have their turn where readouts never cease
            await sleep(gather_s)
        self._has_paused = False
        while not self._batches:
            self._check_open()
            self._take_in(0.0)
            if self._batches:
                break
            left_s = _LOOK_S if deadline is None else min(_LOOK_S, deadline - time.monotonic())
            if left_s <= 0:
                self._tell_readiness()
                raise self._timeout()
            fds = [self.fileno()] if hasattr(select, "epoll") else self._watched_fds()
            self._tell_readiness()
            await awaiting.readable(fds, left_s)
            self._has_paused = True

    @property
    def gather(self) -> float:
        """Seconds for which readouts may gather where they come fast: one wake takes many; 0 for none.

        Those that are at least half of it apart are handed out at once. A program that looks at readouts ten
        times a second sets 0.1, and pays less.
        """
        return self._gathering.longest_s

    @gather.setter
    def gather(self, seconds: float) -> None:
        if not 0 <= seconds <= MAX_GATHER_S:
            raise ValueError(f"gather is from 0 to {MAX_GATHER_S:g} seconds, not {seconds!r}")
        self._gathering.longest_s = seconds

    def _gather_s(self) -> float:
        """Return for how many seconds to let readouts gather before the next look."""
        return self._gathering.left_s(time.monotonic())

    def _rest(self, timeout_s: float | None) -> None:
        """Let readouts that follow soon gather, so that one wake takes many; a lone one is out already."""
        left_s = self._gather_s() if timeout_s is None else min(self._gather_s(), timeout_s)
        if left_s > 0:
            time.sleep(left_s)

    def fileno(self) -> int:
        """Return a descriptor for `select` and event loops, readable while a readout may be waiting.

        It may be readable for a datagram that turns out not to be a readout: call ``receive(timeout=0)`` and
        expect `ReceiveTimeout`.
        """
        self._check_open()
        if not hasattr(select, "epoll"):
            return self._watched_fds()[0]
        if self._readiness is None:
            self._readiness = Readiness(*self._watched_fds())
            self._tell_readiness()
        return self._readiness.fileno()

    def close(self) -> None:
        """Close the receiver; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._decoded.clear()
        self._batches.clear()
        if self._readiness is not None:
            self._readiness.close()
        self._close()

    def __repr__(self) -> str:
        closed = ", closed" if self._closed else ""
        return f"<{type(self).__name__} of {self._readout_class.__name__} from {self}{closed}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tell_readiness(self) -> None:
        if self._readiness is not None:
            self._readiness.set(bool(self._left() or self._batches) or self._unread())

    def _left(self) -> int:
        """Return how many readouts are decoded and not handed out."""
        return length_hint(self._readouts)

    def _deadline(self, timeout: float | None) -> float | None:
        timeout = self.timeout if timeout is _OWN else timeout
        return None if timeout is None else time.monotonic() + timeout

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{self} is closed")

    def _next_batch(self, deadline: float | None) -> Batch:
        self._check_open()
        while not self._batches:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            self._take_in(left)
            if not self._batches and left == 0.0:
                self._tell_readiness()
                raise self._timeout()
        while self.on_run is not None and self._told < len(self._batches[0].runs):
            self._told += 1  # it may raise: the batch stays, and is handed out by the next call
            self._tell_readiness()
            self.on_run(self._batches[0].runs[self._told - 1])
        self._told = 0
        return self._batches.popleft()

    def _take_in(self, timeout_s: float | None) -> None:
        """Wait once for batches, and follow the stream's state by them."""
        self._note_batches(self._receive_batches(timeout_s))

    def _note_batches(self, batches: list[Batch]) -> None:
        """Follow the stream's state by batches, and keep them to be handed out."""
        now = clock.now()
        for batch in batches:
            if not batch.recovered:  # late, but not for a network that lags
                self._tracker.received(batch.source, batch.timestamps[-1], now)
        if now.s >= self._look_at_s:
            self._look_at_s = now.s + _LOOK_S
            self._note_losses(now)
        self._batches.extend(batches)

    def _note_losses(self, now: clock.Moment) -> None:
        self._tracker.lost(self.ledger.lost, now)

    def _timeout(self) -> ReceiveTimeout:
        return ReceiveTimeout(f"no readout from {self} in time")


def _has_passed(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline
