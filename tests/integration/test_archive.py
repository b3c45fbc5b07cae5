"""The relay's history endpoint on real sockets: what it answers, and what no client can do to it."""

import contextlib
import select
import time

import pytest
import zmq

from astropix_relay.clients import connections
from astropix_relay.clients.archive import Archive
from astropix_relay.clients.handover import Handover, Listener
from astropix_relay.history import History
from astropix_stream import wire
from astropix_stream.batch import Source
from astropix_stream.wire import Answer, AnswerStatus, Ask, Request

RELAY_ID = 77
SOURCE = Source("10.0.0.1", 5013)


@pytest.fixture
def context():
    with zmq.Context(connections.IO_THREADS) as context:
        yield context


@pytest.fixture
def listener():
    with contextlib.ExitStack() as opened:

        def make(endpoint):
            made = Listener(endpoint, Handover())
            opened.callback(made.close)
            return made

        yield make


def open_gate():
    return OpenGate()


class OpenGate:
    """Asks nobody who they are, and watches nobody."""

    def __init__(self):
        self.guard = self.door = self
        self.earned = 0

    def open_door(self, sock, name, listener, allowance):
        return self

    def earn(self, fd, size):
        self.earned += size


@pytest.fixture
def history():
    """Readouts 0 to 99, ten a message, received at 0, 10, 20, …"""
    history = History(1 << 20)
    for i in range(0, 100, 10):
        history.append(wire.pack_header(wire.Header(0, 10, RELAY_ID, i, i, SOURCE)), bytes([i]) * 20)
    return history


@pytest.fixture
def archive(context, history, listener):
    histories = {"astropix": history, "other": History(1 << 20)}
    archive = Archive(context, listener("tcp://127.0.0.1:0"), RELAY_ID, histories, open_gate())
    yield archive
    archive.close()


@pytest.fixture
def client(context, archive):
    with connect(context, archive, zmq.DEALER) as client:
        yield client


def connect(context, archive, kind):
    client = context.socket(kind)
    client.linger = 0
    client.rcvtimeo = 5000
    client.connect(archive.endpoint)
    return client


def handled(archive):
    return sum(archive.requests().values())


def turn(archive, wanted):
    """Let the archive answer until it has answered or dropped so many."""
    while handled(archive) < wanted:
        archive.answer()
        select.select([archive.fileno()], [], [], min(5, max(0, archive.due_s() - time.monotonic())))


def ask(archive, client, kind, *numbers, stream="astropix", relay_id=0):
    a, b = (*numbers, 0, 0)[:2]
    client.send(wire.pack_request(Request(kind, 5, relay_id, a, b, stream)))
    turn(archive, handled(archive) + 1)
    frame, body = client.recv_multipart()
    return wire.parse_answer(frame), body


@pytest.mark.parametrize(
    ("question", "limits", "sequences"),
    [
        ((Ask.RANGE, 15, 40), (15, 40), [10, 20, 30]),
        ((Ask.RANGE, 90, wire.WITHOUT_END), (90, 100), [90]),
        ((Ask.RANGE, 100, 200), (100, 100), []),
        ((Ask.LATEST, 15), (85, 100), [80, 90]),
        ((Ask.LATEST, 1000), (0, 100), list(range(0, 100, 10))),
        ((Ask.OLDEST,), (0, 100), list(range(0, 100, 10))),
        ((Ask.SINCE, 75), (80, 100), [80, 90]),
        ((Ask.SINCE, 91), (100, 100), []),
    ],
)
def test_answers(archive, client, question, limits, sequences):
    answer, page = ask(archive, client, *question)
    assert answer == Answer(AnswerStatus.OK, 5, RELAY_ID, 0, 100, *limits)
    messages = list(wire.walk_page(page))
    assert [header.sequence for header, _ in messages] == sequences
    assert all(
        header.flags == wire.REPLAYED and payload[0] == header.sequence for header, payload in messages
    )


def test_refusals_say_why(archive, client):
    answer, words = ask(archive, client, Ask.OLDEST, stream="nosuch")
    assert (answer.status, answer.request_id) == (AnswerStatus.UNKNOWN_STREAM, 5)
    assert words == b"no such stream; there are: astropix, other"
    answer, words = ask(archive, client, Ask.OLDEST, relay_id=RELAY_ID + 1)
    assert (answer.status, answer.relay_id) == (AnswerStatus.OTHER_RELAY, RELAY_ID)
    assert words == b"the relay was restarted: the history of that relay_id is gone"
    assert ask(archive, client, Ask.OLDEST, relay_id=RELAY_ID)[0].status == AnswerStatus.OK


@pytest.mark.parametrize("frames", [[b""], [b"x"], [b"", b"", b""], [b"\xff" * 100], [b"APXQ" + bytes(50)]])
def test_what_is_no_request_is_told_so(archive, client, frames):
    client.send_multipart(frames)
    turn(archive, 1)
    answer, words = client.recv_multipart()[-2:]
    assert wire.parse_answer(answer).status == AnswerStatus.MALFORMED
    assert words.isascii()
    assert ask(archive, client, Ask.OLDEST)[0].status == AnswerStatus.OK


def test_a_req_socket_may_ask(context, archive):
    with connect(context, archive, zmq.REQ) as client:
        assert ask(archive, client, Ask.LATEST, 1)[0].begin == 99


def test_a_client_that_does_not_read_gets_no_more_than_fits_and_disturbs_nobody(context, archive, history):
    """What leaves a full queue behind is dropped: the relay's memory does not grow with requests."""
    for i in range(100, 20_000, 10):
        history.append(wire.pack_header(wire.Header(0, 10, RELAY_ID, i, i, SOURCE)), bytes(500))
    with connect(context, archive, zmq.DEALER) as greedy, connect(context, archive, zmq.DEALER) as client:
        greedy.rcvhwm = 1
        for _ in range(200):
            greedy.send(wire.pack_request(Request(Ask.OLDEST, 5, 0, 0, 0, "astropix")))
        turn(archive, 200)
        answered, unwanted = archive.answered[AnswerStatus.OK], archive.unwanted
        assert unwanted > 150
        assert answered + unwanted == 200, "each request is counted once"
        received = 0
        while greedy.poll(500):
            greedy.recv_multipart()
            received += 1
        assert received == answered, "what counts as answered arrives"
        assert ask(archive, client, Ask.LATEST, 1)[0].status == AnswerStatus.OK


def test_pages_leave_the_processor_to_what_is_live(context, archive, history, client):
    for i in range(100, 20_000, 10):
        history.append(wire.pack_header(wire.Header(0, 10, RELAY_ID, i, i, SOURCE)), bytes(500))
    began = time.monotonic()
    sizes = [len(ask(archive, client, Ask.OLDEST)[1]) for _ in range(10)]
    assert time.monotonic() - began >= sum(sizes[:-1]) / 200e6


def test_a_client_that_is_gone_is_no_error(context, archive):
    with connect(context, archive, zmq.DEALER) as client:
        client.linger = 1000
        client.send(wire.pack_request(Request(Ask.OLDEST, 5, 0, 0, 0, "astropix")))
        select.select([archive.fileno()], [], [], 5)
    turn(archive, 1)
    assert handled(archive) == 1


def test_a_frame_larger_than_any_request_ends_its_connection(context, archive, client):
    with connect(context, archive, zmq.DEALER) as other:
        other.send(bytes(10_000))
        assert ask(archive, client, Ask.OLDEST)[0].status == AnswerStatus.OK
    assert archive.requests() == {"ok": 1} | dict.fromkeys(
        ("unknown_stream", "other_relay", "malformed", "unwanted"), 0
    )


def test_an_endpoint_in_use_is_named(context, archive, listener):
    with pytest.raises(
        OSError, match=f"cannot listen on {archive.endpoint}: address already in use, held by"
    ):
        Archive(context, listener(archive.endpoint), 1, {}, open_gate())
    assert archive.port == int(archive.endpoint.rpartition(":")[2])


def test_a_history_that_is_being_filled_is_not_asked_yet(archive, history, client):
    """A relay fed by relays fetches what they hold: what it has not yet is not gone."""
    history.filling = True
    for i, stream in enumerate((b"astropix", b"other")):
        request = wire.pack_request(Request(Ask.OLDEST, 5 + i, 0, 0, 0, stream.decode()))
        client.send(request)
    turn(archive, 2)
    assert wire.parse_answer(client.recv_multipart()[0]).request_id == 6
    assert archive.unwanted == 1
    history.filling = False
    client.send(wire.pack_request(Request(Ask.OLDEST, 7, 0, 0, 0, "astropix")))
    turn(archive, 3)
    answer = wire.parse_answer(client.recv_multipart()[0])
    assert (answer.request_id, answer.begin, answer.end) == (7, 0, 100)
