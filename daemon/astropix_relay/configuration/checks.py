"""What only the host can tell of a configuration. This module binds sockets, config.py does not."""

import contextlib
import errno
import os
import socket
from pathlib import Path

from astropix_daemon.addresses import Address, tcp_address
from astropix_relay.configuration.model import Config
from astropix_stream.errors import explain


def endpoint_problems(config: Config) -> list[str]:
    """Bind each endpoint for a moment; return a sentence for each that cannot be bound.

    The endpoints of a relay that is running cannot be, either: this is for a host where it is not.
    """
    endpoints = {
        "publish.endpoint": config.publish.endpoint,
        "history.endpoint": config.history_endpoint(),
        "metrics.listen": config.metrics.listen and f"tcp://{config.metrics.listen}",
    }
    problems = {key: endpoint and _bind_problem(endpoint) for key, endpoint in endpoints.items()}
    return [f"{key}: {endpoints[key]}: {problem}" for key, problem in problems.items() if problem]


def _bind_problem(endpoint: str) -> str | None:
    address = tcp_address(endpoint)
    try:
        if address is None:
            _check_directory(Path(endpoint.removeprefix("ipc://")).parent)
        else:
            _bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "another program listens there, perhaps a relay that is running (see `ss -tlnp`)"
        return explain(error)
    return None


def _bind(address: Address) -> None:
    host = "0.0.0.0" if address.host == "*" else address.host  # what libzmq makes of it
    where = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    family, _, _, _, sockaddr = where[0]
    with contextlib.closing(socket.socket(family)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as libzmq: old connections do not count
        sock.bind(sockaddr)


def _check_directory(directory: Path) -> None:
    if not os.access(directory, os.W_OK | os.X_OK):
        code = errno.EACCES if directory.exists() else errno.ENOENT
        raise OSError(code, f"{directory}: {os.strerror(code)}")
