"""Key pairs for encrypted connections (CURVE), in files that pyzmq and other ZeroMQ programs read too.

A pair is two files: ``NAME.key`` with the public key, to be handed to the other side, and ``NAME.key_secret``
with both, which never leaves its host.
"""

import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

import zmq
from zmq.utils import z85

from astropix_stream.errors import ConfigError

PUBLIC_SUFFIX, SECRET_SUFFIX = ".key", ".key_secret"
_KEY_LINE = re.compile(r'^\s*(public|secret)-key\s*=\s*"([^"\n]*)"\s*$', re.MULTILINE)
_MAX_SIZE = 64 << 10  # bytes of a key file; a larger one is a mistake
_TEXT = """\
# {use}
# Made by astropix-relay keygen; the format is that of ZeroMQ's certificates.
metadata
    name = "{name}"
curve
    public-key = "{public}"
"""


class KeyPair(NamedTuple):
    """A pair in ZeroMQ's text form (Z85, 40 characters each)."""

    public: bytes
    secret: bytes


def parse_key(text: str) -> bytes:
    """Check a key in text form.

    Raises
    ------
    ConfigError
        It is not 40 characters of Z85.
    """
    try:
        key = text.encode("ascii")
        if len(key) == 40 and len(z85.decode(key)) == 32:
            return key
    except (ValueError, KeyError):
        pass
    raise ConfigError(f"{text[:60]!r} is not a key: those are 40 characters of Z85")


def read_public(path: str | Path) -> bytes:
    """Return the public key in a file.

    Raises
    ------
    ConfigError
        The file cannot be read or holds none.
    """
    return _read(Path(path), "public")["public"]


def read_pair(path: str | Path, *, private: bool = True) -> KeyPair:
    """Return the pair in a ``.key_secret`` file.

    Parameters
    ----------
    path
        The file.
    private
        Refuse a file that anyone but its owner can read.

    Raises
    ------
    ConfigError
        The file cannot be read, holds no pair, is readable by others, or its keys do not belong together.
    """
    path = Path(path)
    keys = _read(path, "secret", private=private)
    public = zmq.curve_public(keys["secret"])
    if keys.get("public", public) != public:
        raise ConfigError(f"{path}: the public key is not that of the secret one")
    return KeyPair(public, keys["secret"])


def server_key(text: str | Path) -> bytes:
    """Return the public key of a relay, given as itself or as the file that holds it.

    Raises
    ------
    ConfigError
        It is neither.
    """
    try:
        return parse_key(str(text))
    except ConfigError:
        return read_public(text)


class ClientKeys(NamedTuple):
    """What a client needs for a relay with encryption: the relay's public key, and a pair of its own."""

    server: bytes
    own: KeyPair

    def set_on(self, sock: "zmq.Socket[bytes]") -> None:
        """Encrypt the connections that a socket is going to make."""
        sock.setsockopt(zmq.CURVE_SERVERKEY, self.server)
        sock.setsockopt(zmq.CURVE_PUBLICKEY, self.own.public)
        sock.setsockopt(zmq.CURVE_SECRETKEY, self.own.secret)


def read_client_keys(server: str | Path | None, key_file: str | Path | None) -> ClientKeys | None:
    """Return the keys that a client was given; None if none.

    Raises
    ------
    ConfigError
        Only one of the two was given, or a key cannot be read.
    """
    if server is None and key_file is None:
        return None
    if server is None or key_file is None:
        raise ConfigError("server_key and key_file belong together: the relay's public key, your secret one")
    return ClientKeys(server_key(server), read_pair(key_file))


def _read(path: Path, wanted: str, *, private: bool = False) -> dict[str, bytes]:
    try:
        with path.open("rb") as file:
            # Of the open file, so that it cannot be exchanged in between.
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MAX_SIZE).decode("utf-8", "replace")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot read the key file {path}: {reason}") from None
    if private and os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path}: others can read this secret key; make it yours alone: chmod 600 {path}")
    try:
        keys = {kind: parse_key(key) for kind, key in _KEY_LINE.findall(text)}
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if wanted not in keys:
        raise ConfigError(f"{path} holds no {wanted} key")
    return keys


def write_pair(directory: str | Path, name: str) -> tuple[Path, Path]:
    """Make a key pair; return its public and its secret file. Existing ones are never replaced.

    Raises
    ------
    ConfigError
        `name` cannot be that of a file.
    OSError
        There is such a file already, or the directory cannot be written to.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", name):
        raise ConfigError(f"{name!r} cannot be a key's name: 1 to 64 of A-Z a-z 0-9 _ . -")
    public, secret = (key.decode() for key in zmq.curve_keypair())
    directory = Path(directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = directory / (name + PUBLIC_SUFFIX), directory / (name + SECRET_SUFFIX)
    text = _TEXT.format(
        use="Secret. Leave it on this host, readable by its user alone.", name=name, public=public
    )
    _create(paths[1], text + f'    secret-key = "{secret}"\n', 0o600)
    try:
        _create(paths[0], _TEXT.format(use="Public: for the other side.", name=name, public=public), 0o644)
    except OSError:
        paths[1].unlink()
        raise
    return paths


def _create(path: Path, text: str, mode: int) -> None:
    """Create a file that was not there, with its mode from the first moment on; whole, or not at all."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
    except OSError:  # the disk is full: half a key would be in the way of the next try, and of a reload
        path.unlink()
        raise
