"""What only the host can tell of a configuration: looks at interfaces, binds endpoints for a moment."""

import difflib
import errno
import os
import socket
from pathlib import Path

from astropix_daemon import listening
from astropix_daemon.addresses import tcp_address
from astropix_relay.configuration.model import Config
from astropix_relay.host import holders
from astropix_stream.addresses import is_address
from astropix_stream.errors import explain


def endpoint_problems(config: Config, file: Path | None = None) -> list[str]:
    """Bind each endpoint for a moment; return a sentence for each that cannot be bound.

    Parameters
    ----------
    config
        The configuration.
    file
        Where it stands. An endpoint of the relay that runs with this file is no problem, nor is one that
        systemd keeps for its next start.
    """
    endpoints = {
        "publish.endpoint": config.publish.endpoint,
        "history.endpoint": config.history_endpoint(),
        "metrics.listen": config.metrics.listen and f"tcp://{config.metrics.listen}",
    }
    problems = {key: endpoint and _bind_problem(endpoint, file) for key, endpoint in endpoints.items()}
    return [f"{key}: {endpoints[key]}: {problem}" for key, problem in problems.items() if problem]


def interface_problems(config: Config) -> list[str]:
    """Return a sentence for each stream or output whose interface is not there now."""
    there = [name for _, name in socket.if_nameindex()]
    problems = []
    named = [(f"streams[{index}]", stream.interface) for index, stream in enumerate(config.streams)]
    named += [(f"outputs[{index}]", output.interface) for index, output in enumerate(config.outputs)]
    for where, name in named:
        if name is None or is_address(name) or name in there:
            continue
        device = name.partition("@")[0]  # as `ip link` writes a VLAN: its name, and the device below
        near = [device] if device in there else difflib.get_close_matches(name, there, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(there)}"
        problems.append(f"{where}.interface: there is no {name} now, and the relay waits for it; {hint}")
    return problems


def _bind_problem(endpoint: str, file: Path | None) -> str | None:
    address = tcp_address(endpoint)
    try:
        if address is None:
            _check_directory(Path(endpoint.removeprefix("ipc://")).parent)
        else:
            listening.open_bound(address.host, address.port).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE or address is None:
            return explain(error)
        holder = holders.find_holder(address.host, address.port)
        if holder is not None and (holder.pid == 1 or _runs(holder.command, file)):
            return None
        return f"another program listens there, {holder or 'see `sudo ss -tlnp`'}"
    return None


def _runs(command: tuple[str, ...], file: Path | None) -> bool:
    """Whether a command is that of a relay with this configuration."""
    is_relay = any(Path(word).name in ("astropix-relay", "astropix_relay") for word in command[:3])
    return is_relay and file is not None and any(Path(word) == file for word in command[3:])


def _check_directory(directory: Path) -> None:
    if not os.access(directory, os.W_OK | os.X_OK):
        code = errno.EACCES if directory.exists() else errno.ENOENT
        raise OSError(code, f"{directory}: {os.strerror(code)}")
