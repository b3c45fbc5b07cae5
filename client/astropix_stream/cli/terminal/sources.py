"""The receivers that a command's URLs stand for, read together."""

import logging
import select
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from astropix_stream import numbers
from astropix_stream.batch import Batch
from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import ASTROPIX4, AstroPix4Readout, Kind, kind_of
from astropix_stream.gathering import GATHER_S
from astropix_stream.opening import open_receiver
from astropix_stream.receiving.receiver import Receiver
from astropix_stream.url import SourceUrl, parse_url

_RELAY_ANSWERS_S = 3.0  # after which a person is told that the relay is silent
_TURN_S = 0.2  # for a relay to be missed, Ctrl-C to be noticed, files to be flushed
_FAIR = 100  # batches of one source, before another has its turn

_log = logging.getLogger(__name__)


class OpenSource:
    """A URL and its receiver; `kind` is what a person says that its readouts are."""

    def __init__(self, url: SourceUrl, kind: Kind | None = None) -> None:
        self.url = url
        self._kind = kind
        self.receiver: Receiver[Any] = open_receiver(
            AstroPix4Readout if kind is None else kind.readout_class, url, any_kind=True
        )

    def wait_ready(self, timeout_s: float | None) -> None:
        """Say so when a relay does not answer; raise that when it does not within the command's timeout."""
        patience_s = _RELAY_ANSWERS_S if timeout_s is None else min(timeout_s, _RELAY_ANSWERS_S)
        try:
            self.receiver.wait_ready(patience_s)
        except ReceiveTimeout as error:
            if timeout_s is not None and timeout_s <= _RELAY_ANSWERS_S:
                raise
            _log.warning("%s; still trying", error)

    @property
    def kind(self) -> Kind:
        """The kind of the readouts that arrive: what was said, what the relay says, or AstroPix 4."""
        if self._kind is not None:
            return self._kind
        uid = self.receiver.readout_uid
        return ASTROPIX4 if uid is None else kind_of(uid)

    def account(self) -> str:
        """Return what was lost, and what else was odd, in a line."""
        ledger = self.receiver.ledger
        odd = {"doubled": ledger.duplicates, "reordered": ledger.reordered, "stray": ledger.stray}
        oddities = (f"{count} {what}" for what, count in odd.items() if count)
        return "; ".join([str(ledger), *oddities, *ledger.remarks])

    def account_json(self) -> dict[str, Any]:
        """Return the same for programs."""
        return {"url": str(self.url), **self.receiver.ledger.to_json()}

    def __str__(self) -> str:
        return str(self.url)


class Sources:
    """Receives from several URLs at once; all are checked before the first is opened.

    Parameters
    ----------
    urls
        Checked, or as `source.parse_url` takes them.
    timeout_s
        Seconds without a readout from any, after which `rounds` raises; None: never.
    kind
        What the readouts are, whatever a relay says.
    gather_s
        For how long readouts of a single URL may gather where they come fast (see `Receiver.gather`).
    """

    def __init__(
        self,
        urls: Sequence[str | SourceUrl],
        timeout_s: float | None = None,
        kind: Kind | None = None,
        *,
        gather_s: float = GATHER_S,
    ) -> None:
        self._timeout_s = timeout_s
        self._open: list[OpenSource] = []
        try:
            for url in [parse_url(url) if isinstance(url, str) else url for url in urls]:
                self._open.append(OpenSource(url, kind))
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

    def rounds(self) -> Iterator[list[tuple[OpenSource, Batch]]]:
        """Iterate over what arrives, with an empty list five times a second while nothing does.

        It ends where no source has more to come: all are files, read to their ends.

        Raises
        ------
        ReceiveTimeout
            Nothing arrived in time.
        """
        last_s = time.monotonic()
        while True:
            arrived = self.poll(_TURN_S if self._timeout_s is None else min(_TURN_S, self._timeout_s))
            yield arrived
            if self.ended:
                return
            now_s = time.monotonic()
            if arrived:
                last_s = now_s
            elif self._timeout_s is not None and now_s >= last_s + self._timeout_s:
                names = " or ".join(map(str, self._open))
                raise ReceiveTimeout(f"no readout from {names} in {numbers.duration(self._timeout_s)}")

    @property
    def ended(self) -> bool:
        """Whether no source has more to come."""
        return all(source.receiver.ended for source in self._open)

    def poll(self, wait_s: float) -> list[tuple[OpenSource, Batch]]:
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
