"""Write what the page shows into files now and then, for logbooks: a picture, and the numbers as JSON."""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from astropix_stream.monitor import export, picture
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.feed import Feed
from astropix_stream.monitor.notes import notes_table
from astropix_stream.monitor.view import View
from astropix_stream.replacing import replacement

_log = logging.getLogger(__name__)


def write(view: View, directory: Path, notes: Sequence[Mapping[str, Any]] = ()) -> Path:
    """Write both files; return the picture's path. A reader never sees half of one.

    Shift notes stand in the numbers, and all of them in a table beside: `astropix_notes.csv`.

    Raises
    ------
    OSError
        They cannot be written.
    """
    then = datetime.fromtimestamp(view.now.ns / 1e9).astimezone()
    run = f"_{view.run.name}" if view.run else ""
    stem = directory / f"astropix_{then:%Y%m%dT%H%M%S%z}{run}"
    numbers = {"state": export.state(view), "histograms": export.histograms(view), "notes": list(notes)}
    _replace(Path(f"{stem}.json"), json.dumps(numbers, indent=1).encode() + b"\n")
    path = Path(f"{stem}.png")
    _replace(path, picture.draw(view))
    if notes:
        _replace(directory / "astropix_notes.csv", notes_table(notes).encode())
    return path


def _replace(path: Path, content: bytes) -> None:
    with replacement(path) as draft:
        draft.write_bytes(content)


class Snapshots:
    """Writes snapshots every so many seconds, and a last one at the end, from a thread of its own.

    What goes wrong with a file is logged, once until it is over: a full disk does not end the page.

    Parameters
    ----------
    feed
        What is shown.
    directory
        Made if it does not exist.
    every_s
        Seconds between two snapshots.
    notes
        Gives the shift notes.

    Raises
    ------
    OSError
        The directory cannot be made.
    """

    def __init__(
        self,
        feed: Feed,
        directory: Path,
        every_s: float,
        notes: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._feed = feed
        self._notes = notes
        self._directory = directory
        self._every_s = every_s
        self._failing = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor-snapshot", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due_s = time.monotonic() + self._every_s
        while not self._stop.wait(max(0.0, due_s - time.monotonic())):
            self._take()
            due_s = max(due_s + self._every_s, time.monotonic())
        self._take()

    def _take(self) -> None:
        try:
            if not self._directory.exists():
                self._directory.mkdir(parents=True)
                _log.warning("the folder %s was deleted; it is made again", self._directory)
            path = write(self._feed.view(Choice()), self._directory, self._notes())
        except Exception as error:  # whatever it is: the next one is tried all the same
            if not self._failing:
                what = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
                _log.warning("no snapshot: %s (further ones are not reported)", " ".join(what.split()))
            self._failing = True
        else:
            if self._failing:
                _log.warning("snapshots are written again: %s", path)
            self._failing = False

    def close(self) -> None:
        """Write the last snapshot and end the thread; a second call does nothing."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
