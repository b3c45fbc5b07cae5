"""Get from a relay's history what was lost on the way: what to ask, how long, and what to hold meanwhile.

Pure. `subscription` knows what is missing and delivers; here is the dialogue with the history endpoint, and
the place where live messages wait behind a gap.
"""

from collections import deque

from astropix_stream import wire
from astropix_stream.batch import Batch
from astropix_stream.relay.patience import Patience
from astropix_stream.wire import Answer, Ask, Request

TIMEOUT_S = 5.0
HELD_BYTES = 8 << 20
_COST = 150  # bytes of Python's for each readout held, besides its own
_ASK_AGAIN_S = 2.0
_BEHIND_S = 10.0  # of recovering without coming nearer
_SILENT_S = 60.0


class Window:
    """The newest live messages, while they wait behind a gap.

    What is pushed out by newer ones only makes the gap longer: history has it too. So the live stream is read
    all the time, with its heartbeats, and the relay's queue for us stays short.
    """

    def __init__(self, max_bytes: int = HELD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._messages: deque[tuple[int, Batch]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def begin(self) -> int:
        """Sequence of the oldest message."""
        return self._messages[0][0]

    def add(self, sequence: int, batch: Batch) -> None:
        """Hold a message; the oldest make room for it."""
        self._messages.append((sequence, batch))
        self._bytes += _cost(batch)
        while self._bytes > self._max_bytes and len(self._messages) > 1:
            self.take()

    def take(self) -> tuple[int, Batch]:
        """Take out the oldest message, and return it."""
        sequence, batch = self._messages.popleft()
        self._bytes -= _cost(batch)
        return sequence, batch


def _cost(batch: Batch) -> int:
    return len(batch.payload) + _COST * len(batch)


class Inquiry:
    """Asks a relay's history page by page, and knows when it is no use any more.

    Parameters
    ----------
    enabled
        Whether to ask at all.
    timeout_s
        How long to wait for a page while the relay itself is heard.
    """

    def __init__(self, *, enabled: bool = True, timeout_s: float = TIMEOUT_S) -> None:
        self.port: int | None = None
        """The TCP port of the history endpoint, as the relay tells it; None without."""
        self._enabled = enabled
        self._silent_until_s = float("-inf")
        self._ids = 0
        self._asked: int | None = None
        self._page = Patience(timeout_s)
        self._again = Patience(_ASK_AGAIN_S)
        self._progress = Patience(_BEHIND_S)
        self._backlog: int | None = None

    def possible(self, now_s: float) -> bool:
        """Whether there is a history that answers."""
        return self._enabled and self.port is not None and now_s >= self._silent_until_s

    def due(self, now_s: float) -> bool:
        """Whether to ask now: nothing is asked, or the answer is overdue, or was lost with its connection."""
        return self._asked is None or self._again.spent(now_s)

    def ask(self, stream: str, relay_id: int, begin: int, end: int, now_s: float, *, flags: int = 0) -> bytes:
        """Return the request for a range of sequences."""
        if self._asked is None:
            self._page.renew(now_s)
        if self._backlog is None:
            self._progress.renew(now_s)
        self._again.renew(now_s)
        self._ids += 1
        self._asked = self._ids
        return wire.pack_request(Request(Ask.RANGE, self._asked, relay_id, begin, end, stream, flags))

    def answered(self, answer: Answer) -> bool:
        """Note an answer; return whether it is the one that is awaited."""
        if answer.request_id != self._asked:
            return False
        self._asked = None
        return True

    def falls_behind(self, backlog: int, now_s: float) -> bool:
        """Note how much is still to come; return whether it has not become less through 10 s.

        Recovery is for what was stalled. Who is slower than the stream would only fall behind further.
        """
        if self._backlog is None or backlog < self._backlog:
            self._backlog = backlog
            self._progress.renew(now_s)
        return self._progress.spent(now_s)

    def times_out(self, now_s: float, *, heard: bool) -> bool:
        """Return whether to wait no longer for a page. A relay that is not heard at all is waited for.

        History is then left alone for a minute: behind a firewall that lets only the live stream pass, every
        loss would hold that up by the timeout.
        """
        if self._asked is None:
            return False
        if not heard:
            self._page.renew(now_s)
        if not self._page.spent(now_s):
            return False
        self._silent_until_s = now_s + _SILENT_S
        return True

    def stop(self) -> None:
        """Stop asking for the present gap."""
        self._asked = self._backlog = None

    def begin_again(self) -> None:
        """Believe in history again: there is a new connection."""
        self._silent_until_s = float("-inf")
