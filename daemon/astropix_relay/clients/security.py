"""The relay's own key, and the list of the clients that may listen.

Files are read at start and on a reload. What is wrong with one client's key keeps out that client alone.
"""

import logging
import os
from pathlib import Path

from zmq.utils import z85

from astropix_relay.configuration.model import SecurityConfig
from astropix_stream import keys
from astropix_stream.errors import ConfigError
from astropix_stream.keys import KeyPair

_log = logging.getLogger(__name__)

CREDENTIAL = "relay.key_secret"
"""Name under which systemd hands over the secret key (LoadCredential=)."""

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
        raise ConfigError(
            "security.secret_key: name the file; only as a service of systemd may it be left out"
        )
    # systemd's directory is closed to others, and its files carry an ACL that looks like a group's right.
    return keys.read_pair(Path(directory, CREDENTIAL), private=False)


def load_clients(security: SecurityConfig) -> Clients:
    """Read the public keys of the clients that are let in.

    Raises
    ------
    ConfigError
        The directory cannot be read.
    """
    try:
        paths = sorted(Path(security.client_keys).iterdir())
    except OSError as error:
        raise ConfigError(
            f"security.client_keys: cannot read {security.client_keys}: {error.strerror}"
        ) from None
    clients: Clients = {}
    for path in paths:
        if path.suffix == keys.SECRET_SUFFIX:
            _log.warning("%s is a client's secret key: it belongs on that client's host alone", path)
        elif path.suffix == keys.PUBLIC_SUFFIX:
            try:
                clients[z85.decode(keys.read_public(path))] = path.stem
            except ConfigError as error:
                _log.error("this client is not let in: %s", error)
    if not clients:
        _log.warning("no client is let in: %s holds no NAME%s", security.client_keys, keys.PUBLIC_SUFFIX)
    return clients
