"""The receivers that a command's URLs stand for, read together."""

import logging
import select
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from astropix_stream import fitting, numbers
from astropix_stream.batch import Batch
from astropix_stream.errors import ConfigError, FormatError, ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout, uid_to_readout_class
from astropix_stream.opening import open_receiver
from astropix_stream.receiving.receiver import Receiver
from astropix_stream.url import SourceUrl, parse_url

_RELAY_ANSWERS_S = 3.0  # after which a person is told that the relay is silent
_TURN_S = 0.2  # for a relay to be missed, Ctrl-C to be noticed, files to be flushed
_FAIR = 100  # batches of one source, before another has its turn

_log = logging.getLogger(__name__)


class OpenSource:
    """A URL and its receiver."""

    def __init__(self, url: SourceUrl) -> None:
        self.url = url
        self.receiver: Receiver[AstroPix4Readout] = open_receiver(AstroPix4Readout, url, any_kind=True)

    def wait_ready(self, timeout_s: float | None) -> None:
        """Say so when a relay does not answer; raise that when it does not within the command's timeout."""
        patience_s = _RELAY_ANSWERS_S if timeout_s is None else min(timeout_s, _RELAY_ANSWERS_S)
        try:
            self.receiver.wait_ready(patience_s)
        except ReceiveTimeout as error:
            if timeout_s is not None and timeout_s <= _RELAY_ANSWERS_S:
                raise
            _log.warning("%s; still trying", error)

    def readout_class(self, *, any_kind: bool) -> type[AstroPix4Readout]:
        """Return the class to decode the readouts with, once one has arrived.

        Parameters
        ----------
        any_kind
            Take AstroPix 4 where there is no class for the kind that the relay says.

        Raises
        ------
        ConfigError
            There is none.
        """
        uid = self.receiver.readout_uid
        if uid is None:
            return AstroPix4Readout
        try:
            return uid_to_readout_class(uid)
        except FormatError:
            if any_kind:
                return AstroPix4Readout
            raise ConfigError(
                f"{self}: {fitting.misfit(AstroPix4Readout, uid)}; --any-kind decodes them all the same"
            ) from None

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
        Checked, or as `source.parse_url` takes them.
    timeout_s
        Seconds without a readout from any, after which `rounds` raises; None: never.
    """

    def __init__(self, urls: Sequence[str | SourceUrl], timeout_s: float | None = None) -> None:
        self._timeout_s = timeout_s
        self._open: list[OpenSource] = []
        try:
            for url in [parse_url(url) if isinstance(url, str) else url for url in urls]:
                self._open.append(OpenSource(url))
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

        Raises
        ------
        ReceiveTimeout
            Nothing arrived in time.
        """
        last_s = time.monotonic()
        while True:
            arrived = self.poll(_TURN_S if self._timeout_s is None else min(_TURN_S, self._timeout_s))
            yield arrived
            now_s = time.monotonic()
            if arrived:
                last_s = now_s
            elif self._timeout_s is not None and now_s >= last_s + self._timeout_s:
                names = " or ".join(map(str, self._open))
                raise ReceiveTimeout(f"no readout from {names} in {numbers.duration(self._timeout_s)}")

    def poll(self, wait_s: float) -> list[tuple[OpenSource, Batch]]:
        """Wait, at most so long, and return what arrived."""
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


def _waiting(receiver: Receiver[AstroPix4Readout], wait_s: float) -> Iterator[Batch]:
    """Wait for a batch, and take those that are there too, but not for ever."""
    try:
        yield receiver.receive_batch(wait_s)
        for _ in range(_FAIR):
            yield receiver.receive_batch(0.0)
    except ReceiveTimeout:
        pass
