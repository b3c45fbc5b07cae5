"""Look at the alarms once a second, from a thread of its own, and tell of what they raise and clear."""

import logging
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from astropix_stream import clock, numbers
from astropix_stream.errors import ConfigError
from astropix_stream.monitor import readings
from astropix_stream.monitor.alarms import Alarms, Event
from astropix_stream.monitor.feed import Feed
from astropix_stream.monitor.settings import Settings, When, load_settings
from astropix_stream.monitor.webhook import Courier

_log = logging.getLogger(__name__)

EVERY_S = 1.0
MAX_FILE = 1 << 20  # bytes
_SHOWN_EVENTS = 30  # on the page; all are in the file


def read_settings(path: Path) -> Settings:
    """Read the file of ``--config``.

    Raises
    ------
    ConfigError
        It cannot be read, or is wrong: a line for each mistake.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
        text = raw.decode()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text in UTF-8") from None
    if len(raw) > MAX_FILE:
        raise ConfigError(f"{path}: more than 1 MiB; that is not a configuration")
    return load_settings(text, file=str(path))


class Watcher:
    """Follows the alarms of a feed.

    Parameters
    ----------
    feed
        What is watched.
    config
        The file with the rules, to read them again; None: no rules.
    settings
        What it said, see `read_settings`.
    """

    def __init__(self, feed: Feed, config: Path | None = None, settings: Settings | None = None) -> None:
        self._feed = feed
        self._config = config
        settings = settings or Settings()
        self._alarms = Alarms(settings.alarms)
        self._look_for_hot = _needs_hot(settings)
        self._courier = Courier(settings.webhook)
        self._trouble = ""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor-alarms", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """End; a second call does nothing."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._courier.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def reloads(self) -> bool:
        """Whether there is a file to read again."""
        return self._config is not None

    def reload(self) -> None:
        """Read the file again; if it is wrong, the rules stay as they were, and the log and page say so."""
        if self._config is None:
            return
        try:
            settings = read_settings(self._config)
        except ConfigError as error:
            first, *others = str(error).splitlines()
            more = f" (and {len(others)} more mistakes)" if others else ""
            self._trouble = f"the alarms stay as they were: {first}{more}"
            _log.warning("%s", self._trouble)
            return
        with self._lock:
            events = self._alarms.replace(settings.alarms, clock.now())
            self._look_for_hot = _needs_hot(settings)
            self._trouble = ""
        self._tell(events)
        self._courier.replace(settings.webhook)
        _log.warning("%s was read again: %d alarms", self._config, len(settings.alarms))

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            if not self._alarms:
                continue
            try:
                self.look()
            except Exception:  # whatever it is: alarms go on, and somebody has to hear of it
                _log.exception("the alarms could not be checked")

    def look(self) -> None:
        """Look once."""
        hot = self._look_for_hot
        reading = self._feed.look(lambda accumulator, now: readings.read(accumulator, now, hot=hot))
        with self._lock:
            events = self._alarms.step(reading)
        self._tell(events)

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            word = "raised" if event.raised else "cleared"
            _log.warning("alarm %s: %s: %s", word, event.alarm, event.text)
            self._courier.send(self._message(event))

    def _message(self, event: Event) -> dict[str, Any]:
        """Return what the webhook is told; `text` is what chat programs show."""
        word = "raised" if event.raised else "cleared"
        line = f"{self._feed.source}: alarm {word}: {event.alarm}: {event.text}"
        return event.to_json() | {"source": self._feed.source, "sentence": event.text, "text": line}

    def to_json(self) -> dict[str, Any]:
        """Return the rules, what is raised, and the log: GET /api/alarms.json."""
        with self._lock:
            return {
                "source": self._feed.source,
                "raised": sum(1 for _ in self._alarms.raised),
                "alarms": self._alarms.rules_to_json(),
                "log": [event.to_json() for event in reversed(self._alarms.log)],
                "webhook": self._courier.to_json(),
                "trouble": self._trouble,
            }

    def words(self, now_ns: int) -> dict[str, Any]:
        """Return what the page says of them."""
        with self._lock:
            rules, raised = self._alarms.rules_to_json(), self._alarms.raised
            events = list(self._alarms.log)[: -_SHOWN_EVENTS - 1 : -1]
            trouble = self._trouble
        return {
            "raised": [
                {"alarm": name, "text": text, "since": numbers.clock(since_ns, now_ns)}
                for name, text, since_ns in raised
            ],
            "rules": [{key: one[key] for key in ("alarm", "rule", "state", "text")} for one in rules],
            "log": [
                {
                    "time": numbers.clock(event.at_ns, now_ns),
                    "what": "raised" if event.raised else "cleared",
                    "text": f"{event.alarm}: {event.text}",
                }
                for event in events
            ],
            "trouble": trouble,
            "webhook": _webhook_words(self._courier.to_json()),
        }

    def saved(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        with self._lock:
            return self._alarms.to_json()

    def restore(self, saved: Any) -> None:
        """Go on where another monitor ended; see `Alarms.restore`."""
        with self._lock:
            self._alarms.restore(saved)


def _needs_hot(settings: Settings) -> bool:
    return any(rule.when is When.HOT_PIXELS for rule in settings.alarms)


def _webhook_words(webhook: dict[str, Any] | None) -> str:
    """Return how it goes with the webhook."""
    if webhook is None:
        return ""
    if webhook["trouble"]:
        waiting = numbers.counted(webhook["waiting"], "message")
        return f"webhook: {webhook['trouble']}; {waiting} waiting"
    return f"webhook: {numbers.counted(webhook['delivered'], 'message')} delivered"
