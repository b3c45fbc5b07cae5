"""What a shift crew has beside the plots: alarms, notes, and how the detector is set up."""

import contextlib
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from astropix_stream import clock, numbers
from astropix_stream.errors import ConfigError
from astropix_stream.monitor import binary
from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.feed import Feed
from astropix_stream.monitor.notes import Note, Notes
from astropix_stream.monitor.settings import Settings
from astropix_stream.monitor.watching import Watcher

_SHOWN_NOTES = 50  # on the page; all are in the files
_SAID_FOR_S = 0.5


class Desk:
    """A feed, and what people add to it.

    Parameters
    ----------
    feed
        What is shown.
    config, settings
        The file with the alarms, and what it said; None: no alarms.
    """

    def __init__(self, feed: Feed, config: Path | None = None, settings: Settings | None = None) -> None:
        self.feed = feed
        self.watcher = Watcher(feed, config, settings)
        self._notes = Notes()
        self._missing = binary.missing()
        self._lock = threading.Lock()
        self._said, self._said_s = "", float("-inf")

    def __enter__(self) -> Self:
        self.watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.watcher.close()

    @property
    def reloads(self) -> bool:
        """Whether there is a file to read again."""
        return self.watcher.reloads

    def reload(self) -> None:
        """Read the file of the alarms again."""
        self.watcher.reload()

    def add_note(self, values: Any) -> Note:
        """Add a note; see `Notes.add`."""
        run_ns = self.feed.look(lambda accumulator, _: _present_ns(accumulator))
        with self._lock:
            return self._notes.add(values, clock.now().ns, run_ns)

    def notes_to_json(self) -> list[dict[str, Any]]:
        """Return the notes for programs, the oldest first."""
        with self._lock:
            return self._notes.to_json()

    def saved(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        with self._lock:
            notes = self._notes.saved()
        return {"alarms": self.watcher.saved(), "notes": notes}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take up the alarms and notes of a monitor that ended; of those that are damaged, none."""
        with contextlib.suppress(AttributeError, ConfigError, LookupError, TypeError, ValueError):
            self.watcher.restore(saved["alarms"])
        with self._lock, contextlib.suppress(AttributeError, ConfigError, LookupError, TypeError, ValueError):
            self._notes.restore(saved["notes"])

    def said(self) -> str:
        """Return `words` as JSON, for all viewers at once: it may be half a second old."""
        if time.monotonic() - self._said_s >= _SAID_FOR_S:
            self._said, self._said_s = json.dumps(self.words()), time.monotonic()
        return self._said

    def words(self) -> dict[str, Any]:
        """Return what the page says of all this, as texts; nothing in it is HTML."""
        now_ns = clock.now().ns
        with self._lock:
            notes = list(self._notes)[: -_SHOWN_NOTES - 1 : -1]
        return self.watcher.words(now_ns) | {
            "missing": self._missing,
            "setup": self.feed.setup.headline,
            "setup_lines": self.feed.setup.lines,
            "notes": [
                {"time": numbers.clock(note.at_ns, now_ns), "author": note.author, "text": note.text}
                for note in notes
            ],
        }


def _present_ns(accumulator: Accumulator) -> int | None:
    """Return the first timestamp of the present run."""
    run = accumulator.present
    return run.first_timestamp if run else None
