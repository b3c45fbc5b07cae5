"""Go a subscriber's way to a relay, one step after the other, and note what came of each."""

import contextlib
import socket
import time
from dataclasses import replace
from typing import Any, TypeAlias

import zmq

from astropix_stream import addresses, keys, links, names, wire, zeromq
from astropix_stream.doctor import relay
from astropix_stream.doctor.hops import has_just_begun
from astropix_stream.doctor.relay import Answers, HandshakeResult
from astropix_stream.errors import WireError
from astropix_stream.url import SourceUrl

STEP_S = 3.0  # for each step; all of them take milliseconds where nothing is wrong

_Socket: TypeAlias = "zmq.Socket[bytes]"

# The beginning of a ZMTP 3 greeting: a signature of ten bytes, and the version. The other side answers with
# its whole greeting, and waits for the rest of ours.
_GREETING = b"\xff" + bytes(8) + b"\x7f\x03"
_ENDS = {
    zmq.Event.HANDSHAKE_SUCCEEDED: HandshakeResult.SUCCEEDED,
    zmq.Event.HANDSHAKE_FAILED_AUTH: HandshakeResult.REFUSED,
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL: HandshakeResult.BROKEN_OFF,
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL: HandshakeResult.BROKEN_OFF,
    zmq.Event.DISCONNECTED: HandshakeResult.BROKEN_OFF,
}


def ask(source: SourceUrl, step_s: float = STEP_S) -> Answers:
    """Go as far as the relay lets us.

    Parameters
    ----------
    source
        The relay, and perhaps the stream and keys.
    step_s
        Seconds allowed for each step.

    Raises
    ------
    ConfigError
        The keys cannot be read, or what is written for a slow line is wrong.
    """
    options = source.options
    links.parse_link(options.get("compress"), options.get("max_bandwidth"))
    own_keys = keys.read_client_keys(options.get("server_key"), options.get("key_file"))
    answers = Answers(source, addresses=names.resolve(source.host), has_key=own_keys is not None)
    tried: list[Answers] = []
    for address in answers.addresses:  # as a receiver does: each in turn, until one leads to a relay
        tried.append(_try(replace(answers, address=address), own_keys, step_s))
        if tried[-1].hello is not None:
            break
    return max(tried, key=relay.progress, default=answers)


def _try(answers: Answers, own_keys: keys.ClientKeys | None, step_s: float) -> Answers:
    answers = _connect(answers, step_s)
    return _subscribe(answers, own_keys, step_s) if relay.is_let_in(answers) else answers


def _connect(answers: Answers, step_s: float) -> Answers:
    """Connect by TCP alone: the kernel's answer is more precise than ZeroMQ's, which tries without end."""
    try:
        with socket.create_connection((answers.address, answers.source.port), step_s) as connection:
            greeting = _exchange_greetings(connection)
    except OSError as error:
        return replace(answers, connect_error=error)
    return replace(answers, mechanism=relay.parse_greeting(greeting))


def _exchange_greetings(connection: socket.socket) -> bytes:
    """Read how the other side begins; what ends a mere conversation is no error of the connection."""
    received = b""
    with contextlib.suppress(OSError):
        connection.sendall(_GREETING)
        while len(received) < relay.GREETING_SIZE and (more := connection.recv(relay.GREETING_SIZE)):
            received += more
    return received


def _subscribe(answers: Answers, own_keys: keys.ClientKeys | None, step_s: float) -> Answers:
    with zmq.Context() as context, context.socket(zmq.SUB) as sock:
        sock.linger = 0
        for option, value in {
            zmq.MAXMSGSIZE: zeromq.MAX_MESSAGE,
            zmq.HANDSHAKE_IVL: int(step_s * 1000),
            zmq.IPV6: int(":" in answers.address),
        }.items():
            sock.setsockopt(option, value)
        sock.subscribe(wire.HELLO_TOPIC)
        if own_keys is not None:
            own_keys.set_on(sock)
        monitor = sock.get_monitor_socket()
        try:
            sock.connect(f"tcp://{addresses.joined(answers.address, answers.source.port)}")
            answers = replace(answers, handshake=_wait_for_handshake(monitor, step_s))
        finally:
            sock.disable_monitor()
            monitor.close()
        if answers.handshake is HandshakeResult.SUCCEEDED:
            answers = _listen(answers, sock, step_s)
    return answers


def _wait_for_handshake(monitor: _Socket, step_s: float) -> HandshakeResult:
    deadline_s = time.monotonic() + step_s
    while monitor.poll(int(max(0.0, deadline_s - time.monotonic()) * 1000)):
        kind = zmq.Event(zeromq.parse_event(monitor.recv_multipart()).kind)
        if kind in _ENDS:
            return _ENDS[kind]
    return HandshakeResult.BROKEN_OFF


def _listen(answers: Answers, sock: _Socket, step_s: float) -> Answers:
    """Wait for the hello, subscribe, and wait for the first heartbeat; readouts may come before it."""
    deadline_s = time.monotonic() + step_s
    while (left_s := deadline_s - time.monotonic()) > 0 and sock.poll(int(left_s * 1000)):
        try:
            message = wire.parse_message(sock.recv_multipart())
        except WireError:
            continue
        if isinstance(message, wire.Hello) and answers.hello is None:
            answers = _choose_stream(answers, message)
            if answers.stream is None:
                break
            sock.subscribe(wire.stream_prefix(answers.stream))
            deadline_s = time.monotonic() + step_s
        elif isinstance(message, wire.BeatMessage):
            answers = replace(answers, report=message.report, reported_ns=message.header.received_ns)
            if not has_just_begun(message.report):
                return answers
        elif isinstance(message, wire.DataMessage):
            answers = replace(answers, has_data=True)
    return answers


def _choose_stream(answers: Answers, hello: wire.Hello) -> Answers:
    """Take the stream that was named, or the only one; none if there is no such one."""
    wanted: Any = answers.source.options.get("stream")
    if wanted is None and len(hello.streams) == 1:
        wanted = next(iter(hello.streams))
    return replace(answers, hello=hello, stream=wanted if wanted in hello.streams else None)
