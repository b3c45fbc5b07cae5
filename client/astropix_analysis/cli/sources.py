"""The receivers that a command's URLs stand for, read together."""

import logging
import select
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from astropix_analysis.cli import texts
from astropix_analysis.errors import ReceiveTimeout
from astropix_analysis.fmt import AstroPix4Readout
from astropix_analysis.receiver import Batch, Receiver
from astropix_analysis.source import SourceUrl, open_receiver, parse_url

_RELAY_ANSWERS_S = 3.0  # after which a person is told that the relay is silent
_LOOK_S = 1.0  # between looks at every receiver: a relay's has to notice that its relay is gone
_FAIR = 100  # batches of one source, before another has its turn

_log = logging.getLogger(__name__)


class OpenSource:
    """A URL and its receiver."""

    def __init__(self, url: SourceUrl) -> None:
        self.url = url
        self.receiver: Receiver[AstroPix4Readout] = open_receiver(AstroPix4Readout, url)

    def wait_ready(self, timeout_s: float | None) -> None:
        """Say so when a relay does not answer; raise that when it does not within the command's timeout."""
        wait_ready = getattr(self.receiver, "wait_ready", None)
        if wait_ready is None:  # the kernel has joined the group, there is nothing to wait for
            return
        try:
            wait_ready(_RELAY_ANSWERS_S if timeout_s is None else min(timeout_s, _RELAY_ANSWERS_S))
        except ReceiveTimeout as error:
            if timeout_s is not None and timeout_s <= _RELAY_ANSWERS_S:
                raise
            _log.warning("%s; still trying", error)

    def account(self) -> str:
        """Return what was lost, and what else was odd, in a line."""
        ledger = self.receiver.ledger
        odd = {"doubled": ledger.duplicates, "reordered": ledger.reordered, "stray": ledger.stray}
        return "; ".join([str(ledger), *(f"{count} {what}" for what, count in odd.items() if count)])

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
        As `source.parse_url` takes them.
    timeout_s
        Seconds without a readout from any, after which `batches` raises; None: never.
    """

    def __init__(self, urls: Sequence[str], timeout_s: float | None = None) -> None:
        self._timeout_s = timeout_s
        self._open: list[OpenSource] = []
        try:
            for url in [parse_url(url) for url in urls]:
                self._open.append(OpenSource(url))
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[OpenSource]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)

    def batches(self) -> Iterator[tuple[OpenSource, Batch]]:
        """Iterate over what arrives.

        Raises
        ------
        ReceiveTimeout
            Nothing arrived in time; the text says why, if that is known.
        """
        for source in self._open:
            source.wait_ready(self._timeout_s)
        yield from self._batches_of_one() if len(self._open) == 1 else self._batches_of_several()

    def _batches_of_one(self) -> Iterator[tuple[OpenSource, Batch]]:
        (source,) = self._open
        while True:
            try:
                yield source, source.receiver.receive_batch(self._timeout_s)
            except ReceiveTimeout:
                raise self._timed_out() from None

    def _batches_of_several(self) -> Iterator[tuple[OpenSource, Batch]]:
        last_s = time.monotonic()
        while True:
            select.select([source.receiver for source in self._open], [], [], self._left_s(last_s))
            for source in self._open:
                for batch in _waiting(source.receiver):
                    last_s = time.monotonic()
                    yield source, batch
            if self._left_s(last_s) == 0.0:
                raise self._timed_out()

    def _left_s(self, last_s: float) -> float:
        if self._timeout_s is None:
            return _LOOK_S
        return min(_LOOK_S, max(0.0, last_s + self._timeout_s - time.monotonic()))

    def _timed_out(self) -> ReceiveTimeout:
        names = " or ".join(map(str, self._open))
        return ReceiveTimeout(f"no readout from {names} in {texts.duration(self._timeout_s or 0.0)}")

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


def _waiting(receiver: Receiver[AstroPix4Readout]) -> Iterator[Batch]:
    """Take what is there, but not for ever."""
    try:
        for _ in range(_FAIR):
            yield receiver.receive_batch(0.0)
    except ReceiveTimeout:
        pass
