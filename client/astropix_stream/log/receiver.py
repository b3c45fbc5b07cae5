"""Receive a stream from a log: what was kept, as fast as it can be read, and then what comes."""

import datetime
import time
from collections.abc import Mapping
from typing import Any, Self, TypeVar

from astropix_stream import clock, fitting
from astropix_stream.batch import Batch
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.state import State
from astropix_stream.errors import ConfigError, ReceiveTimeout, RefusedError, WireError
from astropix_stream.log import messages
from astropix_stream.log.access import Access, check_installed
from astropix_stream.log.following import Following
from astropix_stream.log.messages import Stored
from astropix_stream.log.reading import Beat, Began, Item, Reader, Wanted
from astropix_stream.receiving.readiness import wait_readable
from astropix_stream.receiving.receiver import Receiver
from astropix_stream.url import SourceUrl
from astropix_stream.wire import check_stream_name

R = TypeVar("R")

_LOOK_S = 0.5  # longest wait: a refusal is to be told soon


class NatsReceiver(Receiver[R]):
    """Receives a stream from a NATS JetStream log, with the interface of every receiver.

    It reads what the log keeps as fast as it can, then goes on with what comes; it connects, and connects
    again, by itself. What is not in the log, and where it was lost, is in `ledger`.

    Parameters
    ----------
    readout_class
        Class of the readouts to return: `fmt.AstroPix4Readout`, or any with ``from_bytes(bytes)``.
    access
        The log's servers, and what they ask for.
    stream
        The stream's name; by default the only one that the log has.
    site
        Where the bridge is, as its configuration says.
    start
        With what to begin: ``'oldest'``, ``'live'``, the latest N readouts, or a time (a `datetime`, or ISO
        8601 as in ``'2026-11-28T10:00'``, local unless it says its zone): from the first message on that the
        relay received at that time or later.
    timeout
        Seconds that `receive` and iteration wait for a readout; None waits without limit.
    stride
        The DAQ multicasts one readout in `stride`: ids that grow by this are no loss. None: each.
    any_kind
        Take readouts of whatever kind, also where `readout_class` is of another.

    Raises
    ------
    ConfigError
        A name, `start` or a file is wrong, or no client for NATS is installed.
    RefusedError
        Later, from `receive` and `wait_ready`: no server lets us in. Called again, they go on trying.
    """

    def __init__(
        self,
        readout_class: type[R],
        access: Access,
        stream: str | None = None,
        *,
        site: str = messages.DEFAULT_SITE,
        start: str | int | datetime.datetime = "live",
        timeout: float | None = None,
        stride: int | None = None,
        any_kind: bool = False,
    ) -> None:
        super().__init__(readout_class, timeout=timeout)
        check_installed()
        try:
            wanted = Wanted(
                messages.check_site(site), stream and check_stream_name(stream), parse_start(start)
            )
        except WireError as error:
            raise ConfigError(str(error)) from None
        self._access = access
        self._stream = stream
        self._following = Following(stride=stride)
        self._catching_up = True
        self._ready = False
        self._any_kind = any_kind
        self._waiting: list[Item] = []
        self._reader = Reader(access, wanted)

    @classmethod
    def from_url(cls, readout_class: type[R], source: SourceUrl, /, **options: Any) -> Self:
        """Open the source of a URL ``nats://…``."""
        given = {name: source.options[name] for name in ("stream", "site", "start") if name in source.options}
        return cls(readout_class, Access.from_url(source), **given, **options)

    def address(self) -> str:
        """Return the log's servers."""
        return str(self._access)

    @property
    def stride(self) -> int:
        """The DAQ multicasts one readout in so many, as given."""
        return self._following.stride

    @property
    def stream(self) -> str | None:
        """The stream's name; None until the log has told it."""
        return self._stream

    @property
    def ready(self) -> bool:
        """Whether the log has answered: reading has begun, be there anything to read or not."""
        return self._ready

    @property
    def connected(self) -> bool:
        """Whether readouts can arrive: a server answers, and has the stream."""
        return self._ready and not self._reader.trouble

    @property
    def caught_up(self) -> bool:
        """Whether all that the log had was handed out, and what comes is live."""
        return self._ready and not self._catching_up and not self._batches

    @property
    def trouble(self) -> str:
        """Why none can; empty if they can."""
        return self._reader.trouble

    @property
    def report(self) -> dict[str, Any] | None:
        """The relay's latest word on the stream: the JSON of its heartbeat; None before it."""
        return self._following.report

    @property
    def readout_uid(self) -> int | None:
        """The kind of the readouts, as the log says; None before the first."""
        return self._following.readout_uid

    @property
    def notes(self) -> Mapping[str, str]:
        """What the relay's operator says of the stream's setup, as the latest heartbeat in the log has it."""
        return self._following.notes

    @property
    def ledger(self) -> Ledger:
        """What was delivered so far, and what is not there and why."""
        return self._following.ledger()

    @property
    def state(self) -> State:
        """What the stream is doing; *no log* while the log cannot be read."""
        return super().state if self.connected else State.NO_LOG

    def _can_arrive(self) -> bool:
        return self.connected and (self.report or {}).get("joined") is not False

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the log answers. Readouts that arrive meanwhile are kept for `receive`.

        Raises
        ------
        ReceiveTimeout
            It did not within `timeout` seconds; the text says what is known.
        RefusedError
            No server lets us in.
        """
        deadline = self._deadline(timeout)
        while not self.connected:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            self._take_in(left)
            if left == 0.0 and not self.connected:
                raise ReceiveTimeout(f"{self} cannot be read: {self._reader.trouble}")
        self._tell_readiness()

    def _watched_fds(self) -> list[int]:
        return [self._reader.fileno()]

    def _unread(self) -> bool:
        return bool(self._waiting)

    def _receive_batches(self, timeout_s: float | None) -> list[Batch]:
        if not self._waiting:
            self._waiting = self._reader.take()
        if not self._waiting:
            self._check_refused()
            if timeout_s == 0.0:
                return []
            wait_readable(self._reader.fileno(), _LOOK_S if timeout_s is None else min(timeout_s, _LOOK_S))
            self._waiting = self._reader.take()
        now = clock.now()
        items, self._waiting = self._waiting, []
        return [batch for item in items for batch in self._take(item, now)]

    def _take(self, item: Item, now: clock.Moment) -> list[Batch]:
        if isinstance(item, Stored):
            known = self.readout_uid
            batches = self._following.take(item, now, recovered=self._catching_up)
            if known is None and not self._any_kind:
                self._check_kind()
            self._catching_up = self._catching_up and item.pending > 0
            return batches
        if isinstance(item, Beat):
            self._following.take_beat(item.data, now)
        else:
            self._begin(item)
        return []

    def _check_kind(self) -> None:
        misfit = fitting.misfit(self._readout_class, self.readout_uid)
        if misfit:
            raise ConfigError(f"{self}: {misfit}; any_kind=True takes them all the same")

    def _begin(self, began: Began) -> None:
        self._ready = True
        self._stream = began.stream
        self._catching_up = began.pending > 0
        self._following.begins = began.beginning
        self._following.log_sequence = 0

    def _check_refused(self) -> None:
        refused, self._reader.refused = self._reader.refused, ""
        if refused:
            raise RefusedError(refused)

    def _close(self) -> None:
        self._reader.close()

    def __str__(self) -> str:
        return str(self._access) + (f"?stream={self._stream}" if self._stream else "")


def parse_start(start: str | int | datetime.datetime) -> str | int | datetime.datetime:
    """Check with what to begin.

    Raises
    ------
    ConfigError
        It is neither a word, nor a number from 0, nor a time.
    """
    if isinstance(start, datetime.datetime):
        return start
    if start in ("live", "oldest") or (isinstance(start, int) and start >= 0):
        return start
    text = str(start)
    if text.isascii() and text.isdecimal():
        return int(text)
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        known = "'live', 'oldest', a number of readouts or a time such as 2026-11-28T10:00"
        raise ConfigError(f"start is {known}, not {start!r}") from None
