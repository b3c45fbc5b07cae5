"""The page of one viewer: a Bokeh document that looks at the feed twice a second."""

import json
from importlib import resources
from typing import Any

import bokeh
from bokeh.core.properties import Int, String
from bokeh.document import Document
from bokeh.model import DataModel
from bokeh.models import CustomJS

from astropix_stream import __version__
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.desk import Desk
from astropix_stream.monitor.feed import Feed
from astropix_stream.monitor.panel_plots import PanelPlots, panel_plots
from astropix_stream.monitor.panel_words import panel_words
from astropix_stream.monitor.plots import Plots
from astropix_stream.monitor.shown import Reset
from astropix_stream.monitor.themes import LIGHT, THEMES, Theme
from astropix_stream.monitor.view import View
from astropix_stream.monitor.words import run_words, stream_words

REDRAW_MS = 500
_MAX_AHEAD = 4  # redraws that a browser has not answered; one that sleeps must not fill our memory
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
    """The number of the latest redraw that the browser has drawn."""


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
    """

    def __init__(self, document: Document, feed: Feed, desk: Desk | None = None) -> None:
        self._feed = feed
        self._desk = desk
        self._desk_said: dict[str, Any] = {}
        self._document = document
        self._choice = Choice()
        self._reset: Reset | None = None
        self._stands = False
        self._refused: dict[str, str] = {}
        self._answered = 0
        self._redraws = 0
        theme = _theme(document)
        self._theme = theme
        self._plots = Plots(theme)
        self._panels: dict[str, PanelPlots | None] = {}  # that were open once
        self._talk = Talk()
        self._talk.on_change("wish", self._read_wish)
        document.title = f"AstroPix: {feed.source}"
        document.template = _TEMPLATE
        document.template_variables.update(
            theme=theme.name,
            version=__version__,
            bokeh_version=bokeh.__version__,
            tot_range_us=f"{feed.geometry.tot_range_us:g}",
            tot_limit_us=f"{feed.geometry.tot_limit_us:g}",
        )
        document.config.reconnect_session = document.config.notify_connection_status = False
        figures = list(self._plots.figures().values())
        figures[0].tags = [
            self._talk
        ]  # a browser reports changes of what belongs to a root, and of nothing else
        for fig in figures:
            document.add_root(fig)
        models = {"talk": self._talk, "figures": figures}
        document.js_on_event("document_ready", CustomJS(args=models, code="apx.start(talk, figures)"))
        document.js_on_event("connection_lost", CustomJS(code="apx.lostServer()"))
        self._talk.js_on_change("words", CustomJS(code="apx.say()"))
        document.add_periodic_callback(self.update, REDRAW_MS)
        self.update()

    def _read_wish(self, attr: str, old: str, new: str) -> None:
        try:
            values = json.loads(new)
            serial, values = int(values.get("serial", 0)), dict(values["choice"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return  # not from our script; nothing to answer
        choice, self._refused = Choice.read_each(values, self._feed.geometry, self._choice)
        if choice.reset != self._choice.reset:
            self._reset = self._feed.reset(choice) if choice.reset else None
        self._choice, self._answered, self._stands = choice, serial, False
        self.update()

    def update(self) -> None:
        """Show what there is now, if somebody looks and keeps up."""
        if self._unseen() or self._redraws - self._talk.seen >= _MAX_AHEAD:
            return
        view = self._feed.view(self._choice, self._reset)
        if self._stands:
            self._say(stream_words(view))
            return
        self._plots.update(view)
        self._show_panel(view)
        self._stands = self._choice.frozen
        refused = self._refused | _missing_runs(self._choice, view.choice)
        answer = {"refused": refused, "answered": self._answered}
        self._say(stream_words(view) | run_words(view) | panel_words(view) | answer)

    def _show_panel(self, view: View) -> None:
        """Show the open part of the page; its figures are made when it is opened for the first time."""
        name = view.choice.panel
        if name not in self._panels:
            plots = self._panels[name] = panel_plots(name, self._theme)
            if plots is not None:
                plots.update(view)
                for fig in plots.figures():
                    self._document.add_root(fig)
        elif (known := self._panels[name]) is not None:
            known.update(view)

    def _unseen(self) -> bool:
        """Tell whether the browser is gone: its session outlives it by some seconds."""
        context = self._document.session_context
        session = context.session if context else None
        return session is not None and session.connection_count == 0

    def _say(self, words: dict[str, Any]) -> None:
        self._redraws += 1
        desk = {} if self._desk is None else self._desk.words()
        if desk != self._desk_said:
            words = words | {"desk": desk}
            self._desk_said = desk
        self._talk.words = json.dumps(words | {"redraw": self._redraws})


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
