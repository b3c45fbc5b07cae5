"""What every ZeroMQ socket is set to, the relay's and its clients', and how either notices a dead peer.

No ZMTP heartbeats (ZMQ_HEARTBEAT_*): with libzmq 4.3.5 a peer, or a stalled reader, aborts the process
through them. TCP itself probes a silent connection and gives up one that acknowledges nothing.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import zmq

OPTIONS: dict[int, int] = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 5,  # seconds of silence before the first probe
    zmq.TCP_KEEPALIVE_INTVL: 2,  # seconds between probes
    zmq.TCP_KEEPALIVE_CNT: 3,  # probes without an answer that end the connection
    zmq.TCP_MAXRT: 15_000,  # ms of retransmissions, as after a cable was pulled, that end it
    zmq.LINGER: 0,
}

MAX_MESSAGE = 16 << 20
"""Bytes of a frame for a client; a larger one is none of a relay's, and ends the connection."""


# As plain numbers: enumerations cost a microsecond each time.
_RCVMORE, _EVENTS, _POLLIN = int(zmq.RCVMORE), int(zmq.EVENTS), int(zmq.POLLIN)
_EVENT = struct.Struct("=Hi")  # kind and value, as zmq_socket_monitor sends them


class Event(NamedTuple):
    """What a socket's monitor tells of a connection: an `EVENT_…` of zmq, and what belongs to it."""

    kind: int
    value: int
    endpoint: str


def parse_event(frames: Sequence[bytes]) -> Event:
    """Parse a message of a socket's monitor.

    pyzmq's own function for it imports asyncio: 6 MiB and 30 ms for each program that has a monitor.
    """
    kind, value = _EVENT.unpack(frames[0])
    return Event(kind, value, frames[1].decode(errors="replace"))


def receive(sock: "zmq.Socket[bytes]", flags: int = 0) -> list[bytes]:
    """Return the next message as `Socket.recv_multipart` does, in half of its time.

    That one looks the option up by name after each frame; objects of `Frame`, which know whether another one
    follows, cost as much as the frames.
    """
    frames = [sock.recv(flags)]
    more = sock.getsockopt
    while more(_RCVMORE):
        frames.append(sock.recv(flags))
    return frames


def has_message(sock: "zmq.Socket[bytes]") -> bool:
    """Return whether a message waits. To try costs three times as much where none does."""
    return bool(int(sock.getsockopt(_EVENTS)) & _POLLIN)


def needs_ipv6(endpoint: str) -> bool:
    """Return whether an endpoint is an IPv6 address, for which ZeroMQ has to be told so."""
    return "[" in endpoint
