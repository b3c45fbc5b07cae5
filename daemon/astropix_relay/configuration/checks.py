"""What only the host can tell of a configuration. This module binds sockets, config.py does not."""

import errno
import os
from pathlib import Path

from astropix_daemon import listening
from astropix_daemon.addresses import tcp_address
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
            listening.open_bound(address.host, address.port).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "another program listens there, perhaps a relay that is running (see `ss -tlnp`)"
        return explain(error)
    return None


def _check_directory(directory: Path) -> None:
    if not os.access(directory, os.W_OK | os.X_OK):
        code = errno.EACCES if directory.exists() else errno.ENOENT
        raise OSError(code, f"{directory}: {os.strerror(code)}")
