"""What every listening socket of the relay asks of its connections, so that no peer can hold one for ever.

No ZMTP heartbeats (ZMQ_HEARTBEAT_*): with libzmq 4.3.5 they let a peer abort this process.
"""

import zmq

_SEND_BUFFER = 1 << 20  # bytes in the kernel, per connection; left to itself Linux grows it to 4 MiB
_MAX_RETRANSMIT_MS = 15_000  # a cable that was pulled: the connection ends
_KEEPALIVE_IDLE_S, _KEEPALIVE_INTERVAL_S, _KEEPALIVE_COUNT = 5, 2, 3

# Threads of the context and which of them serve a socket (bit masks): pages of history, a megabyte each, must
# not keep the thread that sends what is live.
IO_THREADS = 2
LIVE_THREAD, HISTORY_THREAD = 1, 2


def options(endpoint: str) -> dict[int, int]:
    """Return the options for a socket that listens on `endpoint`."""
    return {
        zmq.SNDBUF: _SEND_BUFFER,
        zmq.TCP_KEEPALIVE: 1,
        zmq.TCP_KEEPALIVE_IDLE: _KEEPALIVE_IDLE_S,
        zmq.TCP_KEEPALIVE_INTVL: _KEEPALIVE_INTERVAL_S,
        zmq.TCP_KEEPALIVE_CNT: _KEEPALIVE_COUNT,
        zmq.TCP_MAXRT: _MAX_RETRANSMIT_MS,
        zmq.IPV6: int("[" in endpoint),
        zmq.LINGER: 0,
    }
