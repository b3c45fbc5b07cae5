"""How far a followed file has been sent: kept where a restarted `apx send --follow` finds it.

One record of JSON, written over the one before it before each send and after it: so a process that is ended
with SIGKILL leaves a record of at most one readout of which nobody knows whether it was sent, with all that
is needed to make it again byte for byte.
"""

import fcntl
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from astropix_stream.errors import ConfigError
from astropix_stream.files.following import Position

_SIZE = 1024  # bytes of the record: less than a page, so that it is there as a whole or not at all
_FOLDER = "astropix-stream"


class Flight(NamedTuple):
    """A readout that was about to be sent, and the bytes of the file that it was made of."""

    begin: int
    end: int
    readout_id: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept: where the next readout begins, and the one that was in flight, if any."""

    position: Position
    flight: Flight | None = None


def find_state(followed: Path, destination: str, given: Path | None) -> Path:
    """Return the file for the state of what is followed, and sent to one destination.

    Parameters
    ----------
    followed
        The file or folder.
    destination
        Where its readouts are sent.
    given
        What --state says; without it the name is made up, in $STATE_DIRECTORY (systemd sets it),
        $XDG_STATE_HOME/astropix-stream or ~/.local/state/astropix-stream.
    """
    if given is not None:
        return given
    path = str(followed.absolute())
    digest = hashlib.sha256(f"{path}\n{destination}".encode()).hexdigest()[:12]
    systemd = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if systemd:
        folder = Path(systemd)
    else:
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
        folder = Path(home) / _FOLDER
    return folder / f"{followed.absolute().name or 'root'}-{digest}.follow"


class ProgressFile:
    """The open state; one process at a time has it.

    Raises
    ------
    ConfigError
        Another process has it.
    OSError
        It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise ConfigError(
                f"{path}: another apx send --follow has this state: end that, or name another with --state"
            ) from None

    def read(self) -> Record | None:
        """Return the record; None if there is none yet.

        Raises
        ------
        ConfigError
            It is damaged.
        """
        text = os.pread(self._fd, _SIZE, 0)
        if not text.strip(b"\0 \n"):
            return None
        try:
            return _parse(json.loads(text))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ConfigError(
                f"{self.path}: not the state of an apx send --follow; remove it to begin again"
            ) from None

    def write(self, record: Record) -> None:
        """Replace the record. It outlives this process, not the machine: it is not forced to the disk."""
        text = json.dumps({"version": 1, **asdict(record)}).encode()
        os.pwrite(self._fd, text.ljust(_SIZE - 1) + b"\n", 0)

    def close(self) -> None:
        """Let another process have it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _parse(value: Any) -> Record:
    where, flight = value["position"], value["flight"]
    numbers = [where[name] for name in ("device", "inode", "offset", "next_id")]
    numbers += [] if flight is None else flight
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError("not numbers")
    position = Position(
        where["device"], where["inode"], str(where["head"]), where["offset"], where["next_id"]
    )
    return Record(position, None if flight is None else Flight(*flight))
