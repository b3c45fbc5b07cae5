"""The relay's ROUTER socket: answers requests for history, one page at a time.

Served from the same loop as what is live, at most one page in each turn, so that any number of clients that
replay cost a live readout one copy of a page; and no faster than leaves the processor to what is live.
None can make the relay queue more than a page for it, besides the one that is leaving.
"""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import zmq

from astropix_relay.clients import connections
from astropix_relay.clients.gate import Gate
from astropix_relay.clients.handover import Listener
from astropix_relay.clients.limits import Allowance
from astropix_relay.history import History, HistoryPage
from astropix_stream import links, wire
from astropix_stream.errors import WireError
from astropix_stream.wire import Answer, AnswerStatus, Ask, Request

_OTHER_RELAY = b"the relay was restarted: the history of that relay_id is gone"
_MAX_INCOMING = 1024  # bytes of a frame; a request has at most 104, a handshake with encryption some 300
_INCOMING_MESSAGES = 4  # requests that wait to be read, per connection; beyond, TCP holds them back
_OUTGOING_MESSAGES = 1  # answers that wait to leave, per connection
# What a client may send. Beside what it earns: four requests may wait for their answers, and 8 KiB in libzmq
# and in the kernel; of a message's frames, which libzmq keeps until the last, 12000 take 1 MiB.
_ALLOWANCE = Allowance(start=24 << 10, per_s=64, most=40 << 10)
_EARNED = 512  # bytes for each request that was read; the largest has 150, with encryption 300
# Requests read in one turn of the loop: those of clients that do not read are cheap, but many.
_MAX_REQUESTS, _MAX_ANSWERING_S = 128, 0.005
_COMPRESSED_PAGE = 64 << 10  # bytes before they are compressed: that takes 0.3 ms of the loop
# To all clients together: 1 MiB each 5 ms. Without a limit 20 clients on one host took 0.8 GB/s and both of
# its processors, and the p99 of what is live rose from 1 to 30 ms.
_BYTES_PER_S = 200e6


class Archive:
    """Serves the histories of all streams, on an endpoint of their own.

    Parameters
    ----------
    context
        ZeroMQ context; stays open on `close`.
    listener
        Where to listen.
    relay_id
        Random number of this start of the relay.
    histories
        By the streams' names.
    gate
        Decides who is let in.

    Raises
    ------
    OSError
        The endpoint cannot be bound.

    Attributes
    ----------
    answered : collections.Counter
        Answers that were sent, by their status.
    unwanted : int
        Requests whose answer was not sent: the client does not read the answers that it has, or is gone; or
        the history is still being filled from the relays above.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        listener: Listener,
        relay_id: int,
        histories: Mapping[str, History],
        gate: Gate,
    ) -> None:
        self._listener = listener
        self._relay_id = relay_id
        self._histories = histories
        self.answered: Counter[AnswerStatus] = Counter(dict.fromkeys(AnswerStatus, 0))
        self.unwanted = 0
        self._waiting = False
        self._rest_until_s = 0.0
        self._socket = context.socket(zmq.ROUTER)
        for option, value in {
            **connections.options(listener.endpoint),
            zmq.AFFINITY: connections.HISTORY_THREAD,
            zmq.ROUTER_MANDATORY: 1,  # a full queue is told, not a silent end of the answer
            zmq.SNDHWM: _OUTGOING_MESSAGES,
            zmq.RCVHWM: _INCOMING_MESSAGES,
            zmq.MAXMSGSIZE: _MAX_INCOMING,
        }.items():
            self._socket.setsockopt(option, value)
        self._guard = gate.guard
        self.door = gate.open_door(self._socket, "history", listener, _ALLOWANCE)
        try:
            listener.bind(self._socket)
        except OSError:
            self._socket.close()
            raise
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        """The address in use."""

    @property
    def port(self) -> int | None:
        """The TCP port in use, as heartbeats and hellos tell it; None for an endpoint that is not TCP."""
        endpoint = self.endpoint
        return int(endpoint.rpartition(":")[2]) if endpoint.startswith("tcp://") else None

    def fileno(self) -> int:
        """Return ZeroMQ's descriptor: it tells that `answer` should be called, and only once."""
        return int(self._socket.getsockopt(zmq.FD))

    def due_s(self) -> float:
        """Return when to call `answer` again, whatever the descriptor says; it tells only once."""
        return self._rest_until_s if self._waiting else math.inf

    def answer(self) -> None:
        """Answer requests, if there are some and it is time, until a page is on its way to a client.

        ZeroMQ takes them from one client after the other, so that each gets its share. A client that does
        not read gets no answer more, and costs neither a page nor the time that one takes to leave.
        """
        now_s = time.monotonic()
        for _ in range(_MAX_REQUESTS):
            self._waiting = bool(int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)
            if not self._waiting or now_s < self._rest_until_s or time.monotonic() - now_s > _MAX_ANSWERING_S:
                return
            self._rest_until_s = now_s + self._answer_next() / _BYTES_PER_S

    def _answer_next(self) -> int:
        """Answer one request; return how many bytes are on their way."""
        sender = self._socket.recv(zmq.NOBLOCK, copy=False)
        request = self._socket.recv_multipart(zmq.NOBLOCK)
        with contextlib.suppress(zmq.ZMQError):  # of `ipc://`, whose connections are not watched
            self._guard.earn(int(sender.get(zmq.SRCFD)), _EARNED)
        if self._is_early(request):
            self.unwanted += 1  # it comes again
            return 0
        try:  # first, since it costs next to nothing where the client does not read
            self._socket.send(sender, zmq.NOBLOCK | zmq.SNDMORE)
        except zmq.ZMQError:  # EAGAIN: its queue is full; EHOSTUNREACH: it is gone
            self.unwanted += 1
            return 0
        envelope = [b""] if request[:1] == [b""] else []
        answer, body = answer_request(request[len(envelope) :], self._relay_id, self._histories)
        self._socket.send_multipart([*envelope, wire.pack_answer(answer), body])
        self.answered[AnswerStatus(answer.status)] += 1
        return len(body)

    def _is_early(self, request: Sequence[bytes]) -> bool:
        """Whether a history is asked that is still being filled: the client asks again in a moment."""
        if not any(history.filling for history in self._histories.values()):
            return False
        try:
            history = self._histories.get(wire.parse_request(request[-1]).stream)
        except WireError:
            return False
        return history is not None and history.filling

    def requests(self) -> dict[str, int]:
        """Return the requests so far, each once: by the status of its answer, or as `unwanted`."""
        return {**{status.name.lower(): n for status, n in self.answered.items()}, "unwanted": self.unwanted}

    def drop_clients(self) -> None:
        """Close every connection; those that may will be back at once."""
        connections.rebind(self._socket, self.endpoint, self._listener.bind)

    def close(self) -> None:
        """Close; a second call does nothing."""
        self._socket.close()


def answer_request(
    frames: Sequence[bytes], relay_id: int, histories: Mapping[str, History]
) -> tuple[Answer, bytes | memoryview]:
    """Return the answer to any frames: its header and a page, or why there is none. Pure."""
    try:
        if len(frames) != 1:
            raise WireError(f"a request of {len(frames)} frames; the protocol's have 1")
        request = wire.parse_request(frames[0])
    except WireError as error:
        return Answer(AnswerStatus.MALFORMED, 0, relay_id), _words(str(error))
    history = histories.get(request.stream)
    if history is None:
        words = _words(f"no such stream; there are: {', '.join(sorted(histories))}")
        return Answer(AnswerStatus.UNKNOWN_STREAM, request.request_id, relay_id), words
    relay_id = relay_id if history.relay_id is None else history.relay_id
    if request.relay_id not in (0, relay_id):
        return Answer(AnswerStatus.OTHER_RELAY, request.request_id, relay_id), _OTHER_RELAY
    compressed = bool(request.flags & wire.ZSTD) and links.installed()
    page = _find(history, request, _COMPRESSED_PAGE if compressed else wire.MAX_PAGE)
    body, flags = page.records, 0
    if compressed and body:
        frame = links.compress(body)
        if len(frame) < len(body):
            body, flags = frame, wire.ZSTD
    limits = (history.oldest, history.next, page.begin, page.end)
    return Answer(AnswerStatus.OK, request.request_id, relay_id, *limits, flags), body


def _find(history: History, request: Request, limit: int) -> HistoryPage:
    if request.kind == Ask.RANGE:
        return history.page(request.a, request.b, limit)
    if request.kind == Ask.LATEST:
        start = max(0, history.next - request.a)
    elif request.kind == Ask.OLDEST:
        start = 0
    else:
        start = history.since(request.a)
    return history.page(start, history.next, limit)


def _words(text: str) -> bytes:
    return text.encode("ascii", "backslashreplace")
