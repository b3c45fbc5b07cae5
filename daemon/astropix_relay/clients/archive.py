"""The relay's ROUTER socket: answers requests for history, one page at a time.

Served from the same loop as what is live, at most one request in each turn, so that any number of clients
that replay cost a live readout one copy of a page; and no faster than leaves the processor to what is live.
None can make the relay queue more than a page for it, besides the one that is leaving.
"""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import zmq

from astropix_relay.clients import connections
from astropix_relay.clients.gate import Gate
from astropix_relay.clients.handover import Listener
from astropix_relay.history import History, HistoryPage
from astropix_stream import wire
from astropix_stream.errors import WireError
from astropix_stream.wire import Answer, AnswerStatus, Ask, Request

_OTHER_RELAY = b"the relay was restarted: the history of that relay_id is gone"
_MAX_INCOMING = 1024  # bytes of a frame; a request has at most 104, a handshake with encryption some 300
_INCOMING_MESSAGES = 4  # requests that wait to be read, per connection; beyond, TCP holds them back
_OUTGOING_MESSAGES = 1  # answers that wait to leave, per connection
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
        Requests whose answer was not sent: the client does not read the answers that it has, or is gone.
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
        self.answered: Counter[AnswerStatus] = Counter()
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
        self.door = gate.guard(self._socket, "history")
        try:
            listener.bind(self._socket)
        except zmq.ZMQError as error:
            self._socket.close()
            raise OSError(
                error.errno, f"cannot serve history on {listener.endpoint}: {str(error).lower()}"
            ) from None
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        """The address in use."""

    @property
    def port(self) -> int | None:
        """The TCP port in use, as beats and hellos tell it; None for an endpoint that is not TCP."""
        endpoint = self.endpoint
        return int(endpoint.rpartition(":")[2]) if endpoint.startswith("tcp://") else None

    def fileno(self) -> int:
        """Return ZeroMQ's descriptor: it tells that `answer_one` should be called, and only once."""
        return int(self._socket.getsockopt(zmq.FD))

    def due_s(self) -> float:
        """Return when to call `answer_one` again, whatever the descriptor says; it tells only once."""
        return self._rest_until_s if self._waiting else math.inf

    def answer_one(self) -> None:
        """Answer the next request, if there is one and it is time."""
        self._waiting = bool(int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)
        now_s = time.monotonic()
        if not self._waiting or now_s < self._rest_until_s:
            return
        identity, *request = self._socket.recv_multipart(zmq.NOBLOCK)
        envelope = [identity, b""] if request[:1] == [b""] else [identity]
        answer, body = answer_request(request[len(envelope) - 1 :], self._relay_id, self._histories)
        self._rest_until_s = now_s + len(body) / _BYTES_PER_S  # sent or not: to find it takes time, too
        try:
            self._socket.send_multipart([*envelope, wire.pack_answer(answer), body], zmq.NOBLOCK)
        except zmq.ZMQError:  # EAGAIN: its queue is full; EHOSTUNREACH: it is gone
            self.unwanted += 1
        else:
            self.answered[AnswerStatus(answer.status)] += 1

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
    if request.relay_id not in (0, relay_id):
        return Answer(AnswerStatus.OTHER_RELAY, request.request_id, relay_id), _OTHER_RELAY
    page = _find(history, request)
    limits = (history.oldest, history.next, page.begin, page.end)
    return Answer(AnswerStatus.OK, request.request_id, relay_id, *limits), page.records


def _find(history: History, request: Request) -> HistoryPage:
    if request.kind == Ask.RANGE:
        return history.page(request.a, request.b)
    if request.kind == Ask.LATEST:
        start = max(0, history.next - request.a)
    elif request.kind == Ask.OLDEST:
        start = 0
    else:
        start = history.since(request.a)
    return history.page(start, history.next)


def _words(text: str) -> bytes:
    return text.encode("ascii", "backslashreplace")
