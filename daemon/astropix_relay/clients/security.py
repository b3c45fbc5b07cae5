"""The relay's own key, and the list of the clients that may listen.

Files are read at start and on a reload. At a start, what is wrong with one client's key keeps out that client
alone. A reload with a broken one is refused: the file may be half-written, and who was in is to stay.
"""

import logging
import os
import stat
from pathlib import Path

from zmq.utils import z85

from astropix_relay.configuration.model import SecurityConfig
from astropix_stream import keys
from astropix_stream.errors import ConfigError
from astropix_stream.keys import KeyPair

_log = logging.getLogger(__name__)

CREDENTIAL = "relay.key_secret"
"""Name under which systemd hands over the secret key (LoadCredential=)."""

_CREDENTIAL_STORES = (
    *("/etc/credstore", "/run/credstore", "/usr/local/lib/credstore", "/usr/lib/credstore"),
    *("/etc/credstore.encrypted", "/run/credstore.encrypted"),
)

Clients = dict[bytes, str]
"""Public keys (32 bytes, as ZeroMQ tells them) of the clients that are let in, and what they are called."""


def load_secret(security: SecurityConfig) -> KeyPair:
    """Read the relay's key pair.

    Raises
    ------
    ConfigError
        There is none, or others can read it.
    """
    if security.secret_key is not None:
        return keys.read_pair(security.secret_key)
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise ConfigError("security.secret_key: name the file; it may be left out only under systemd")
    # systemd's directory is closed to others, and its files carry an ACL that looks like a group's right.
    return keys.read_pair(Path(directory, CREDENTIAL), private=False)


def exposed_secret(instance: str) -> str | None:
    """Return what is wrong with the rights of the secret key in systemd's credential store; None: nothing.

    systemd hands over a copy, which tells nothing of the rights of the original.

    Parameters
    ----------
    instance
        The unit's instance: the name of the configuration file without its ending.
    """
    for path in _stored(instance):
        try:
            # Others cannot reach it in a directory that is closed to them.
            can_enter = path.parent.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH)
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
        if can_enter and mode & (stat.S_IRWXG | stat.S_IRWXO):
            return f"{path}: others can read this secret key (mode {mode:04o}): chmod 600 {path}"
    return None


def has_secret(instance: str) -> bool:
    """Return whether systemd's credential store holds a secret key for the service, as far as we may look."""
    try:
        return any(path.exists() for path in _stored(instance))
    except PermissionError:
        return True


def _stored(instance: str) -> list[Path]:
    return [Path(directory, f"astropix-relay.{instance}.key_secret") for directory in _CREDENTIAL_STORES]


def load_clients(security: SecurityConfig, *, refuse_broken: bool = False) -> Clients:
    """Read the public keys of the clients that are let in.

    Parameters
    ----------
    security
        The section of the configuration.
    refuse_broken
        Raise where a client's key is broken, instead of leaving out that client.

    Raises
    ------
    ConfigError
        The directory cannot be read; with `refuse_broken`, all broken keys, a line each.
    """
    try:
        paths = sorted(Path(security.client_keys).iterdir())
    except OSError as error:
        raise ConfigError(
            f"security.client_keys: cannot read {security.client_keys}: {error.strerror}"
        ) from None
    clients: Clients = {}
    broken = []
    for path in paths:
        if path.suffix == keys.SECRET_SUFFIX:
            _log.warning("%s is a client's secret key: it belongs on that client's host alone", path)
        elif path.suffix == keys.PUBLIC_SUFFIX:
            try:
                clients[z85.decode(keys.read_public(path))] = path.stem
            except ConfigError as error:
                broken.append(str(error))
    if broken and refuse_broken:
        raise ConfigError("\n".join(broken))
    for text in broken:
        _log.error("client refused: %s", text)
    if not clients:
        _log.warning("no client is admitted: %s has no NAME%s", security.client_keys, keys.PUBLIC_SUFFIX)
    return clients
