"""The page of one viewer: a Bokeh document that is told what is new."""

import json
import time
from collections.abc import Callable
from functools import lru_cache
from importlib import resources

import bokeh
from bokeh.core.properties import Bool, Int, String
from bokeh.document import Document
from bokeh.model import DataModel
from bokeh.models import CustomJS
from bokeh.plotting import figure

from astropix_stream import __version__
from astropix_stream.monitor import panel_plots, plots
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.desk import Desk
from astropix_stream.monitor.drawing import encoded, joined
from astropix_stream.monitor.feed import Feed
from astropix_stream.monitor.panel_words import panel_words
from astropix_stream.monitor.shown import Reset
from astropix_stream.monitor.themes import LIGHT, THEMES, Theme
from astropix_stream.monitor.view import View
from astropix_stream.monitor.words import run_words

_MAX_AHEAD = 4  # messages that a browser has not answered; one that sleeps must not fill our memory
_SETTLE_S = 8.0  # after a change: rates are of the last five seconds, and fall to nothing
_STILL_S = 5.0  # between messages while nothing changes: the browser sees that we are there
_LOOK_S = 15.0  # between looks at everything while nothing changes: the axis of time goes on
_TEMPLATES = resources.files(__package__).joinpath("templates")
_PARTS = "".join(_TEMPLATES.joinpath(name).read_text("utf-8") for name in ("panels.html", "readouts.html"))
_TEMPLATE = _TEMPLATES.joinpath("page.html").read_text("utf-8").replace("{# parts #}", _PARTS)


class Talk(DataModel):  # type: ignore[misc]
    """What page and browser tell each other beside the plots; assets/monitor.js has the other end."""

    words = String(default="{}")
    """All texts that the page shows, as JSON."""
    wish = String(default="{}")
    """What the viewer wants to see, as JSON."""
    seen = Int(default=0)
    """The number of the latest message that the browser has drawn, or the one before it."""
    hidden = Bool(default=False)
    """Whether nobody sees the page, since its tab or window is behind others."""


class Page:
    """What one browser shows: Bokeh's plots in a page of plain HTML.

    Parameters
    ----------
    document
        Of this browser.
    feed
        Shared by all.
    desk
        What there is beside the plots, shared by all; None: nothing.
    new_figures
        Gives the figures of the overview, which are this browser's from then on.
    """

    def __init__(
        self,
        document: Document,
        feed: Feed,
        desk: Desk | None = None,
        new_figures: Callable[[Theme], list[figure]] = plots.new_figures,
    ) -> None:
        self._feed = feed
        self._desk = desk
        self._document = document
        self._choice = Choice()
        self._reset: Reset | None = None
        self._stands = False
        self._refused: dict[str, str] = {}
        self._answered = 0
        self._greeted = False
        self._known: dict[str, str] = {}  # what the browser has been told
        self._redraws = 0
        self._version = feed.version
        self._changed_s = self._full_s = self._said_s = float("-inf")
        self._theme = _theme(document)
        self._opened = {"overview"}  # parts of the page whose figures are made
        self._talk = Talk()
        self._talk.on_change("wish", self._read_wish)
        self._talk.on_change("hidden", lambda attr, old, new: self._look_at_all())
        self._fill(document, new_figures(self._theme))

    def _fill(self, document: Document, figures: list[figure]) -> None:
        geometry, theme = self._feed.geometry, self._theme
        document.title = f"AstroPix: {self._feed.source}"
        document.template = _TEMPLATE
        document.template_variables.update(
            theme=theme.name,
            version=__version__,
            bokeh_version=bokeh.__version__,
            tot_range_us=f"{geometry.tot_range_us:g}",
            tot_limit_us=f"{geometry.tot_limit_us:g}",
        )
        document.config.reconnect_session = document.config.notify_connection_status = False
        # A browser reports changes of what belongs to a root, and of nothing else.
        figures[0].tags = [*figures[0].tags, self._talk]
        with document.models.freeze():  # else it looks for all models again after each of these lines
            for fig in figures:
                document.add_root(fig)
            models = {"talk": self._talk, "figures": figures}
            document.js_on_event("document_ready", CustomJS(args=models, code="apx.start(talk, figures)"))
            document.js_on_event("connection_lost", CustomJS(code="apx.lostServer()"))
            self._talk.js_on_change("words", CustomJS(code="apx.say()"))

    def _read_wish(self, attr: str, old: str, new: str) -> None:
        try:
            values = json.loads(new)
            serial, values = int(values.get("serial", 0)), dict(values["choice"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return  # not from our script; nothing to answer
        choice, self._refused = Choice.read_each(values, self._feed.geometry, self._choice)
        if choice.reset != self._choice.reset:
            self._reset = self._feed.reset(choice) if choice.reset else None
        if serial <= 1:  # a browser that has just loaded the page
            self._known.clear()
        self._choice, self._answered, self._stands, self._greeted = choice, serial, False, True
        self._open(choice.panel)
        self._look_at_all()

    def _look_at_all(self) -> None:
        """Let the next message hold everything, and send it at once if the browser keeps up."""
        self._full_s = float("-inf")
        self.update()

    def _open(self, panel: str) -> None:
        """Make the figures of a part of the page when it is opened for the first time."""
        if panel not in self._opened:
            self._opened.add(panel)
            with self._document.models.freeze():
                for fig in panel_plots.new_figures(panel, self._theme):
                    self._document.add_root(fig)

    def update(self) -> None:
        """Tell the browser what is new, if it keeps up."""
        if (message := self._message(time.monotonic())) is not None:
            self._talk.words = message

    async def tick(self) -> None:
        """Tell the browser what is new, from outside of the document's callbacks; waits until it is sent."""
        context = self._document.session_context
        session = context.session if context else None
        # A session outlives its browser by some seconds, and its lock costs more than this look.
        if session is not None and session.connection_count and self._is_due(time.monotonic()):
            await session.with_document_locked(self.update)

    def _is_due(self, now_s: float) -> bool:
        """Tell whether there may be something to say; this changes nothing."""
        if self._feed.version != self._version or now_s - self._changed_s < _SETTLE_S:
            return True
        if now_s - self._full_s >= _LOOK_S or now_s - self._said_s >= _STILL_S:
            return True
        told = {name: said for name, said in self._feed.stream_words().items() if name != "time"}
        if self._desk is not None:
            told["desk"] = self._desk.said()
        return any(self._known.get(name) != said for name, said in told.items())

    def _message(self, now_s: float) -> str | None:
        """Return what the browser does not know yet; None: nothing worth a message."""
        if not self._greeted or self._redraws - self._talk.seen >= _MAX_AHEAD:
            return None
        told = dict(self._feed.stream_words())
        if (version := self._feed.version) != self._version:
            self._version, self._changed_s = version, now_s
        moving = now_s - self._changed_s < _SETTLE_S and not self._talk.hidden
        if not self._stands and (moving or now_s - self._full_s >= _LOOK_S):
            told |= self._everything()
            self._full_s = now_s
        if self._desk is not None:
            told["desk"] = self._desk.said()
        news = {name: value for name, value in told.items() if self._known.get(name) != value}
        if not news.keys() - {"time"} and now_s - self._said_s < _STILL_S:
            return None  # the browser's own clock goes on
        self._known |= news
        self._said_s = now_s
        self._redraws += 1
        draw = {name: news.pop(name) for name in list(news) if "." in name}
        return joined(news | {"redraw": str(self._redraws)} | ({"drawn": joined(draw)} if draw else {}))

    def _everything(self) -> dict[str, str]:
        """Return all that is said and drawn of the run."""
        view = self._feed.view(self._choice, self._reset)
        self._stands = self._choice.frozen
        refused = self._refused | _missing_runs(self._choice, view.choice)
        return _told(view) | encoded({"refused": refused, "answered": self._answered})


@lru_cache(maxsize=16)
def _told(view: View) -> dict[str, str]:
    """Return what all who see a view are told: its words, and what is drawn, by the names of models."""
    changes = plots.draw(view) | panel_plots.draw(view)
    return encoded(run_words(view) | panel_words(view) | changes)


def _missing_runs(asked: Choice, shown: Choice) -> dict[str, str]:
    """Return what to say at the fields of runs that do not exist, or are no longer kept."""
    return {
        name: f"run {getattr(asked, name)} cannot be shown here"
        for name in ("run", "compare")
        if getattr(asked, name) is not None and getattr(shown, name) is None
    }


def _theme(document: Document) -> Theme:
    context = document.session_context
    asked = context.request.arguments.get("theme", [b""]) if context and context.request else [b""]
    return THEMES.get(asked[-1].decode("ascii", "replace"), LIGHT)
