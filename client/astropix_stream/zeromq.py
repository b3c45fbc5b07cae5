"""What every ZeroMQ socket is set to, the relay's and its clients', and how either notices a dead peer.

No ZMTP heartbeats (ZMQ_HEARTBEAT_*): with libzmq 4.3.5 a peer, or a stalled reader, aborts the process
through them. TCP itself probes a silent connection and gives up one that acknowledges nothing.
"""

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


def needs_ipv6(endpoint: str) -> bool:
    """Return whether an endpoint is an IPv6 address, for which ZeroMQ has to be told so."""
    return "[" in endpoint
