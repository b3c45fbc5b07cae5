"""Receive one stream over several paths at once: two relays, or a relay and multicast.

Each readout is delivered once, from whichever path has it first; a path may die, restart or lag.
"""

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from astropix_stream import clock
from astropix_stream.batch import Batch
from astropix_stream.counting.ledger import Ledger, PathAccount
from astropix_stream.counting.places import Place
from astropix_stream.errors import ConfigError, ReceiveTimeout, RefusedError
from astropix_stream.receiving.arbiter import Arbiter
from astropix_stream.receiving.readiness import wait_any_readable
from astropix_stream.receiving.receiver import Receiver

_log = logging.getLogger(__name__)

R = TypeVar("R")

_LOOK_S = 1.0  # longest wait: receivers look after their connections only when they are called
_MAX_TAKEN = 64  # batches of one path before the others have their turn


class MergedReceiver(Receiver[R]):
    """Receives what several receivers of the same readouts receive, each readout once.

    Parameters
    ----------
    readout_class
        Class of the readouts to return.
    receivers
        Receivers of the same stream; they are closed with this one.
    timeout
        Seconds that `receive` and iteration wait for a readout; None waits without limit.
    stride
        The DAQ multicasts one readout in `stride`. By default what a relay says of its stream.

    Raises
    ------
    ConfigError
        There are no receivers.
    """

    def __init__(
        self,
        readout_class: type[R],
        receivers: Sequence[Receiver[Any]],
        *,
        timeout: float | None = None,
        stride: int | None = None,
    ) -> None:
        super().__init__(readout_class, timeout=timeout)
        if not receivers:
            raise ConfigError("give at least one source")
        self.receivers = tuple(receivers)
        """Those of the paths, to look at their ledgers and states; do not receive from them."""
        self._told_stride = stride
        self._arbiter = Arbiter(len(receivers), stride=self.stride)
        self._recovered = 0
        self._drained: list[Batch] = []  # more than nothing only after an error
        self._more = False
        self._refused: set[Receiver[Any]] = set()

    def address(self) -> tuple[Any, ...]:
        """Return the addresses of the paths."""
        return tuple(receiver.address() for receiver in self.receivers)

    @property
    def stream(self) -> str | None:
        """The stream's name, as the first relay tells it that does."""
        return next((receiver.stream for receiver in self.receivers if receiver.stream is not None), None)

    @property
    def notes(self) -> Mapping[str, Any]:
        """What is said of the setup, by the first source that says anything."""
        return next((receiver.notes for receiver in self.receivers if receiver.notes), {})

    @property
    def stride(self) -> int:
        """The DAQ multicasts one readout in so many: as given, or as a relay on one of the paths says."""
        return self._told_stride or max(receiver.stride for receiver in self.receivers)

    @property
    def rejected(self) -> Counter[str]:
        """Datagrams that were not readouts, by reason, on all paths."""
        return sum((receiver.rejected for receiver in self.receivers), Counter())

    @property
    def connected(self) -> bool:
        """Whether readouts can arrive on at least one path."""
        return any(receiver.connected for receiver in self.receivers)

    @property
    def ready(self) -> bool:
        """Whether at least one path works."""
        return any(receiver.ready for receiver in self.receivers)

    @property
    def trouble(self) -> str:
        """Why readouts can arrive on no path; empty if they can on one."""
        troubles = {str(receiver): receiver.trouble for receiver in self.receivers}
        if not all(troubles.values()):
            return ""
        return "; ".join(f"{path}: {trouble}" for path, trouble in troubles.items())

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until at least one path works; readouts that arrive meanwhile are kept for `receive`.

        Raises
        ------
        ReceiveTimeout
            None did within `timeout` seconds.
        """
        deadline = self._deadline(timeout)
        while not self.ready:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            self._take_in(left)
            if left == 0.0 and not self.ready:
                raise ReceiveTimeout(f"no path works: {self}")
        self._tell_readiness()

    @property
    def readout_uid(self) -> int | None:
        """The kind of the readouts, as the first relay says that has been heard."""
        uids = (receiver.readout_uid for receiver in self.receivers)
        return next((uid for uid in uids if uid is not None), None)

    @property
    def ledger(self) -> Ledger:
        """What was delivered, and what no path brought; in `paths`, the account of each."""
        accounts = [receiver.ledger for receiver in self.receivers]
        arbiter = self._arbiter
        return Ledger(
            delivered=sum(arbiter.first),
            lost_at={Place.EVERY_PATH: arbiter.lost} if arbiter.lost else {},
            before_joining=min(account.before_joining for account in accounts),
            runs=arbiter.runs,
            recovered=self._recovered,
            restarts=sum(account.restarts for account in accounts),
            losses=tuple(arbiter.losses),
            periods=arbiter.periods,
            remarks=tuple(dict.fromkeys(remark for account in accounts for remark in account.remarks)),
            paths=tuple(
                PathAccount(str(receiver), first, later, account)
                for receiver, first, later, account in zip(
                    self.receivers, arbiter.first, arbiter.later, accounts, strict=True
                )
            ),
        )

    def _watched_fds(self) -> list[int]:
        return [receiver.fileno() for receiver in self.receivers]

    def _unread(self) -> bool:
        return self._more

    def _receive_batches(self, timeout_s: float | None) -> list[Batch]:
        self._rest(timeout_s)
        batches = self._drain()
        if batches or timeout_s == 0.0:
            return batches
        look_s = min(_LOOK_S, max(0.0, self._arbiter.due_s() - time.monotonic()))
        wait_any_readable(self._watched_fds(), look_s if timeout_s is None else min(timeout_s, look_s))
        return self._drain()

    def _drain(self) -> list[Batch]:
        now = clock.now()
        self._more = False
        for path, receiver in enumerate(self.receivers):
            for batch in self._take(receiver):
                self._arbiter.stride = self.stride  # a relay may just have told it
                self._drained += self._arbiter.take(path, batch, now)
        self._drained += self._arbiter.tick(now)
        batches, self._drained = self._drained, []
        if batches:
            self._gathering.note(now.s, len(batches), more=self._more)
        self._recovered += sum(len(batch) for batch in batches if batch.recovered)
        return batches

    def _take(self, receiver: Receiver[Any]) -> Iterator[Batch]:
        try:
            for _ in range(_MAX_TAKEN):
                yield receiver.receive_batch(timeout=0.0)
        except ReceiveTimeout:
            return
        except RefusedError as error:
            if not self.ready:
                raise
            if receiver not in self._refused:
                self._refused.add(receiver)
                _log.warning("continuing without %s: %s", receiver, error)
            return
        self._more = True

    def _close(self) -> None:
        for receiver in self.receivers:
            receiver.close()

    def __str__(self) -> str:
        return ", ".join(map(str, self.receivers))


def open_merged(
    readout_class: type[R],
    opening: Iterable[Callable[..., Receiver[Any]]],
    *,
    timeout: float | None = None,
    stride: int | None = None,
    **options: Any,
) -> MergedReceiver[R]:
    """Open several receivers and merge them; where one cannot be opened, none stays open."""
    with contextlib.ExitStack() as opened:
        if stride is not None:
            options["stride"] = stride
        receivers = [opened.enter_context(open_one(**options)) for open_one in opening]
        merged = MergedReceiver(readout_class, receivers, timeout=timeout, stride=stride)
        opened.pop_all()
    return merged
