"""The state file: what a monitor knows, saved every ten seconds and read at the next start."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from astropix_stream import numbers
from astropix_stream.errors import ConfigError, FormatError
from astropix_stream.fmt import Kind
from astropix_stream.monitor import memory
from astropix_stream.monitor.accumulate import Memory
from astropix_stream.monitor.feed import Feed
from astropix_stream.monitor.memory import MAX_BYTES, Packed, Unpacked
from astropix_stream.replacing import replacement
from astropix_stream.url import SourceUrl

try:
    import fcntl
except ImportError:  # not on Windows: there, nobody keeps a second monitor out
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)

EVERY_S = 10.0


def default_path(urls: Sequence[str], environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return where the state of a monitor of these sources is kept; None where there is no place.

    That is systemd's state directory in a service, and else that of the user (XDG).
    """
    name = f"monitor-{sha256(' '.join(urls).encode()).hexdigest()[:16]}.state"
    if service := environ.get("STATE_DIRECTORY"):
        return Path(service.split(":")[0], name)
    base, home = environ.get("XDG_STATE_HOME", ""), environ.get("HOME", "")
    if not os.path.isabs(base):  # as the specification has it
        if not os.path.isabs(home):
            return None
        base = os.path.join(home, ".local", "state")
    return Path(base, "astropix", name)


def open_state(ways: Sequence[SourceUrl], path: Path | None, *, wanted: bool) -> "StateFile | None":
    """Return the state file of a monitor of these sources; None if there is to be none.

    Without the usual place, the log says so, and the monitor goes without.

    Parameters
    ----------
    ways
        The sources.
    path
        Where a person wants it; None: at the usual place.
    wanted
        Whether there is to be one.

    Raises
    ------
    ConfigError
        The path cannot be used.
    """
    if path is not None and not wanted:
        raise ConfigError("--state and --no-state contradict each other: give one of them")
    if any(way.scheme == "file" for way in ways):
        if path is not None:
            raise ConfigError("--state is for a network's readouts: a file is read again from its beginning")
        return None
    if not wanted:
        return None
    if path is not None:
        return StateFile(path)
    usual = default_path([str(way) for way in ways])
    try:
        if usual is None:
            raise ConfigError("there is no home directory; --state FILE says where")
        return StateFile(usual)
    except ConfigError as error:
        _log.warning("runs are not kept for the next start: %s", error)
        return None


class StateFile:
    """A file that one monitor at a time has; `Saver` fills it.

    Parameters
    ----------
    path
        Where; folders are made.

    Raises
    ------
    ConfigError
        It cannot be written there, or another monitor has it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = path.with_name(path.name + ".lock").open("ab")
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        try:
            _take_lock(self._lock)
        except OSError:
            self._lock.close()
            raise ConfigError(f"{path} belongs to a monitor that runs; give this one --state FILE") from None

    def close(self) -> None:
        """Let another monitor have it; a second call does nothing."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, kind: Kind | None) -> Unpacked | None:
        """Return what it holds; None where there is nothing.

        A file that cannot be read is put aside, and the log says so.
        """
        try:
            with self.path.open("rb") as file:
                found = memory.unpack(file.read(MAX_BYTES + 1), kind)
        except FileNotFoundError:
            return None
        except (FormatError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            aside = _put_aside(self.path)
            _log.warning(
                "%s is not taken up: %s%s", self.path, why, f"; it is kept as {aside}" if aside else ""
            )
            return None
        if found.left_out:
            _log.warning(
                "%s: %s of other settings or another version left out",
                self.path,
                numbers.counted(found.left_out, "run"),
            )
        return found

    def write(self, content: bytes) -> None:
        """Replace it as a whole, also on the disk.

        Raises
        ------
        OSError
            It cannot be written.
        """
        with replacement(self.path) as draft, draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _take_lock(file: IO[bytes]) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _put_aside(path: Path) -> Path | None:
    """Rename a file, so that the next save does not replace it; return its new name."""
    for i in range(1, 100):
        aside = path.with_name(f"{path.name}.unreadable{'' if i == 1 else f'-{i}'}")
        if not aside.exists():
            with contextlib.suppress(OSError):
                path.rename(aside)
                return aside
    return None


class Saver:
    """Saves a feed every ten seconds, if anything has changed, and at the end, from a thread of its own.

    Parameters
    ----------
    feed
        What is saved.
    file
        Where.
    more
        Gives what else is to be saved.
    """

    def __init__(self, feed: Feed, file: StateFile, more: Callable[[], dict[str, Any]]) -> None:
        self._feed = feed
        self._file = file
        self._more = more
        self._packed: dict[int, Packed] = {}
        self._saved: Any = None  # what tells whether anything has changed
        self._failing = False
        self._left_out = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor-state", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Save for the last time and end; a second call does nothing."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._save()
        self._save()

    def _save(self) -> None:
        known = {number: packed.version for number, packed in self._packed.items()}
        try:
            taken = self._feed.look(lambda accumulator, now: accumulator.remember(now, known))
            more = self._more()
            if (sign := _sign(taken, more)) == self._saved:
                return
            content, left_out = memory.pack(taken, more, self._packed)
            self._file.write(content)
        except Exception as error:  # whatever it is: the next time it is tried all the same
            if not self._failing:
                what = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
                _log.warning(
                    "the state is not saved: %s: %s (further failures are not reported)",
                    self._file.path,
                    what,
                )
            self._failing = True
            return
        self._saved = sign
        if self._failing:
            _log.warning("the state is saved again: %s", self._file.path)
        if left_out > self._left_out:
            _log.warning("the state has no room for %s", numbers.counted(left_out, "run"))
        self._failing, self._left_out = False, left_out


def _sign(taken: Memory, more: Mapping[str, Any]) -> Any:
    """Return what differs as soon as there is something new to save."""
    return [(run.number, run.version) for run in taken.runs], dict(taken.tally.lost_at), more
