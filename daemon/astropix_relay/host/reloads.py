"""A reload that is answered: asked for by SIGHUP, answered through the unit's runtime directory.

`systemctl reload` fails where its command does; a signal alone tells nobody whether the relay took the new
configuration. So the command binds a socket in the directory that only the service's user can enter
(RuntimeDirectory=), sends the signal, and waits. Without such a directory nothing is answered.
"""

import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_VARIABLE = "RUNTIME_DIRECTORY"
_NAME = "reload-{pid}"
_MAX_ANSWER = 32 << 10  # bytes of text


def answer(text: str, environ: Mapping[str, str] = os.environ) -> None:
    """Tell whoever waits how the reload ended: an empty text where it was taken up."""
    directory = environ.get(_VARIABLE)
    if not directory:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        for path in Path(directory).glob(_NAME.format(pid="*")):
            with suppress(OSError):  # who asked is gone
                sock.sendto(text.encode()[:_MAX_ANSWER], str(path))


def request(pid: int, timeout_s: float, environ: Mapping[str, str] = os.environ) -> str | None:
    """Have a relay reload; return its answer, empty where it took the configuration up.

    None: it will not answer, since there is no runtime directory.

    Raises
    ------
    OSError
        There is no such process, or it did not answer in time (TimeoutError).
    """
    directory = environ.get(_VARIABLE)
    if not directory:
        os.kill(pid, signal.SIGHUP)
        return None
    path = Path(directory, _NAME.format(pid=os.getpid()))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout_s)
        path.unlink(missing_ok=True)
        sock.bind(str(path))
        try:
            os.kill(pid, signal.SIGHUP)
            return sock.recv(_MAX_ANSWER).decode(errors="replace")
        finally:
            path.unlink(missing_ok=True)
