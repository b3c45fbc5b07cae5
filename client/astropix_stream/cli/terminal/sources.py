"""The receivers that a command's URLs stand for, read together."""

import contextlib
import logging
import select
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias

from astropix_stream import numbers
from astropix_stream.batch import Batch
from astropix_stream.cli.terminal import reaching
from astropix_stream.cli.terminal.tally import Tally
from astropix_stream.counting.ledger import Ledger
from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import ASTROPIX4, AstroPix4Readout, Kind, kind_of
from astropix_stream.gathering import GATHER_S
from astropix_stream.opening import open_receiver
from astropix_stream.receiving.receiver import Receiver
from astropix_stream.url import SourceUrl

_RELAY_ANSWERS_S = 3.0  # after which a person is told that the relay is silent
_TURN_S = 0.2  # for a relay to be missed, Ctrl-C to be noticed, files to be flushed
_FAIR = 100  # batches of one source, before another has its turn
_PLACED_S = 1.2  # after which it is known where a missing readout was lost: a gap is closed, a heartbeat came

Paths: TypeAlias = Sequence[SourceUrl]
"""The URLs of one stream."""

_log = logging.getLogger(__name__)


class OpenSource:
    """One stream and its receiver.

    Parameters
    ----------
    paths
        The URLs of the stream: several are redundant paths to the same readouts.
    kind
        What a person says that its readouts are.
    """

    def __init__(self, paths: Paths, kind: Kind | None = None) -> None:
        self.paths = paths
        self._kind = kind
        self._tally: Tally | None = None
        self._told = False  # why the source is not there
        self._account: Ledger | None = None  # of a command that has ended before its receiver
        self.receiver: Receiver[Any] = open_receiver(
            AstroPix4Readout if kind is None else kind.readout_class,
            paths[0] if len(paths) == 1 else paths,
            any_kind=True,
        )

    def wait_ready(self, timeout_s: float | None) -> None:
        """Say so when a relay does not answer; raise that when it does not within the command's timeout."""
        patience_s = _RELAY_ANSWERS_S if timeout_s is None else min(timeout_s, _RELAY_ANSWERS_S)
        try:
            self.receiver.wait_ready(patience_s)
        except ReceiveTimeout as error:
            self._told = True
            told = "; ".join(filter(None, map(reaching.complaint, self.paths))) or str(error)
            if timeout_s is not None and timeout_s <= _RELAY_ANSWERS_S:
                raise ReceiveTimeout(told) from None
            _log.warning("%s; still trying", told)
            return
        if len(self.paths) > 1:  # one that works is enough to be ready
            receivers = zip(self.paths, getattr(self.receiver, "receivers", ()), strict=False)
            reaching.tell_dead(path for path, receiver in receivers if not receiver.ready)

    @property
    def kind(self) -> Kind:
        """The kind of the readouts that arrive: what was said, what the relay says, or AstroPix 4."""
        if self._kind is not None:
            return self._kind
        uid = self.receiver.readout_uid
        return ASTROPIX4 if uid is None else kind_of(uid)

    def first(self, batch: Batch, count: int, *, unique: bool) -> Batch:
        """Return the first `count` readouts of a batch, duplicates not counted if `unique`, and note them."""
        if self._tally is None:
            self._tally = Tally(getattr(self.receiver, "stride", 1))
        if unique and batch.duplicates:
            wanted = [at for at, is_duplicate in enumerate(batch.duplicates) if not is_duplicate][:count]
            count = wanted[-1] + 1 if len(wanted) == count else len(batch)
        batch = batch.first(count)
        self._tally.note(batch)
        return batch

    def end(self) -> None:
        """Let the account be that of the readouts that were handed on, whatever the receiver has read."""
        tally = self._tally or Tally()
        deadline_s = time.monotonic() + (0.0 if self._is_file else _PLACED_S)
        while tally.close().lost > self.receiver.ledger.lost and time.monotonic() < deadline_s:
            with contextlib.suppress(ReceiveTimeout):  # it knows soon where they were lost
                self.receiver.receive_batch(_TURN_S)
        self._account = tally.account(self.receiver.ledger)

    @property
    def _is_file(self) -> bool:
        return self.paths[0].scheme == "file"

    @property
    def is_damaged(self) -> bool:
        """Whether it is a file that could not be read to its end."""
        return self._is_file and bool(self.receiver.trouble)

    @property
    def ledger(self) -> Ledger:
        """The account of the readouts that were handed on."""
        return self.receiver.ledger if self._account is None else self._account

    def account(self) -> str:
        """Return what was lost, and what else was odd, in a line."""
        ledger = self.ledger
        if not ledger.delivered and not ledger.lost:
            return "; ".join([self._nothing(), *ledger.remarks])
        odd = {
            numbers.counted(ledger.duplicates, "duplicate"): ledger.duplicates,
            f"{ledger.reordered} out of order": ledger.reordered,
            f"{ledger.stray} stray": ledger.stray,
        }
        oddities = (text for text, count in odd.items() if count)
        return "; ".join([str(ledger), *oddities, *ledger.remarks])

    def _nothing(self) -> str:
        """Say that no readout came, and what would tell why."""
        if self._is_file:
            return "no readouts"
        if self._told:
            return "no readout came"
        trouble = self.receiver.trouble
        tries = " and ".join(f"`{reaching.doctor(path)}`" for path in self.paths)
        return f"no readout came{f' ({trouble})' if trouble else ''}; try {tries}"

    def accounts(self) -> list[str]:
        """Return the line for the end; of several paths, a line for each, too."""
        paths = [f"  {path}" for path in self.ledger.paths]
        return [f"{self}: {self.account()}", *paths]

    def account_json(self) -> dict[str, Any]:
        """Return the same for programs."""
        return {"url": str(self), **self.ledger.to_json()}

    def __str__(self) -> str:
        return " and ".join(map(str, self.paths))


Arrived: TypeAlias = list[tuple[OpenSource, Batch]]


class Sources:
    """Receives several streams at once.

    Parameters
    ----------
    streams
        The paths to each.
    timeout_s
        Seconds without a readout from any, after which `rounds` raises; None: never.
    kind
        What the readouts are, whatever a relay says.
    gather_s
        For how long readouts of a single stream may gather where they come fast (see `Receiver.gather`).
    count
        After so many readouts `rounds` ends, and the accounts are of these alone; None: without end.
    unique
        Duplicates are not counted among them.
    """

    def __init__(
        self,
        streams: Sequence[Paths],
        timeout_s: float | None = None,
        kind: Kind | None = None,
        *,
        gather_s: float = GATHER_S,
        count: int | None = None,
        unique: bool = False,
    ) -> None:
        self._timeout_s = timeout_s
        self._left, self._unique = count, unique
        self._open: list[OpenSource] = []
        try:
            for paths in streams:
                self._open.append(OpenSource(paths, kind))
                self._open[-1].receiver.gather = gather_s
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[OpenSource]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)

    def wait_ready(self) -> None:
        """Wait until readouts can arrive; say so when a relay does not answer, or raise if out of time."""
        for source in self._open:
            source.wait_ready(self._timeout_s)

    def rounds(self) -> Iterator[Arrived]:
        """Iterate over what arrives, with an empty list five times a second while nothing does.

        It ends after the readouts that were wanted, or where no source has more to come: all are files, read
        to their ends.

        Raises
        ------
        ReceiveTimeout
            Nothing arrived in time.
        """
        last_s = time.monotonic()
        while True:
            arrived = self.poll(_TURN_S if self._timeout_s is None else min(_TURN_S, self._timeout_s))
            arrived = arrived if self._left is None else self._limited(arrived, self._left)
            yield arrived
            if self._left == 0:
                for source in self._open:
                    source.end()
            if self.ended:
                return
            now_s = time.monotonic()
            if arrived:
                last_s = now_s
            elif self._timeout_s is not None and now_s >= last_s + self._timeout_s:
                names = " or ".join(map(str, self._open))
                raise ReceiveTimeout(f"no readout from {names} in {numbers.duration(self._timeout_s)}")

    def _limited(self, arrived: Arrived, left: int) -> Arrived:
        """Return as many of the readouts that arrived as are wanted still."""
        wanted: Arrived = []
        for source, batch in arrived:
            if left:
                wanted.append((source, source.first(batch, left, unique=self._unique)))
                first = wanted[-1][1]
                left -= len(first) - (sum(first.duplicates) if self._unique else 0)
        self._left = left
        return wanted

    @property
    def ended(self) -> bool:
        """Whether there were as many readouts as wanted, or no source has any left."""
        return self._left == 0 or all(source.receiver.ended for source in self._open)

    def poll(self, wait_s: float) -> Arrived:
        """Wait, at most so long, and return what arrived."""
        if self.ended:
            time.sleep(wait_s)
            return []
        if len(self._open) > 1:  # one receiver waits better than select: it lets fast readouts gather
            select.select([source.receiver for source in self._open], [], [], wait_s)
            wait_s = 0.0
        return [(source, batch) for source in self._open for batch in _waiting(source.receiver, wait_s)]

    def close(self) -> None:
        """Close all receivers."""
        for source in self._open:
            source.receiver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _waiting(receiver: Receiver[Any], wait_s: float) -> Iterator[Batch]:
    """Wait for a batch, and take those that are there too, but not without end."""
    try:
        yield receiver.receive_batch(wait_s)
        for _ in range(_FAIR):
            yield receiver.receive_batch(0.0)
    except ReceiveTimeout:
        pass
