"""What the answers of /api have in common: the view that the query asks for, JSON, errors in a sentence."""

import json
from collections.abc import Mapping
from typing import Any

from tornado.web import HTTPError, RequestHandler

from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.feed import Feed
from astropix_stream.monitor.view import View


class SentenceError(HTTPError):
    """An answer that says what is wrong, in a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status)
        self.sentence = sentence  # tornado's own text is a format, where a % stands for something


class Handler(RequestHandler):
    """Answers with a view; what to show is in the query, as in `Choice`."""

    def initialize(self, feed: Feed, **shared: Any) -> None:
        """Take what the route was registered with: the feed, and what else its requests share."""
        self._feed = feed
        self.shared = shared

    def head(self, *names: str) -> Any:
        """Answer as GET does; tornado leaves the body out, and waits for what is returned."""
        return self.get(*names)

    def view(self, panel: str | None = None) -> View:
        """Return what the query asks for, with a part of the page open: by default, the one in the query.

        Each field is checked as the page checks it; a script hears of what is wrong instead of getting
        something nearby.
        """
        choice, refused = Choice.read_each(self._query(), self._feed.geometry)
        if refused:
            raise SentenceError(400, "; ".join(f"{name}: {said}" for name, said in refused.items()))
        if panel is not None:
            choice = choice.model_copy(update={"panel": panel})
        view = self._feed.view(choice)
        if choice.run is not None and (view.run is None or view.choice.run is None):
            raise SentenceError(404, f"there is no run {choice.run}, or it is no longer kept")
        if choice.compare is not None and view.compared is None:
            raise SentenceError(404, f"there is no other run {choice.compare} of this kind of readouts")
        return view

    def _query(self) -> Mapping[str, str]:
        """Return the query, which may be that of a page's address."""
        names = self.request.query_arguments.keys() - {"theme"}
        return {name: self.get_query_argument(name) for name in sorted(names)}

    def set_default_headers(self) -> None:
        """Let nothing be kept or guessed."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def write_json(self, value: Any) -> None:
        """Answer with JSON."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(value, indent=1) + "\n")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with a sentence, and without a page of HTML."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        if status_code == 405:
            self.set_header("Allow", self._allowed())
        said = getattr(error, "sentence", None) or getattr(error, "log_message", None) or self._reason
        self.finish(f"{said}\n")

    def options(self, *names: str) -> None:
        """Say which methods there are."""
        self.set_status(204)
        self.set_header("Allow", self._allowed())

    def _allowed(self) -> str:
        return "GET, HEAD, OPTIONS" + ", POST" * (type(self).post is not RequestHandler.post)


class MissingHandler(Handler):
    """Answers for what /api does not have."""

    def prepare(self) -> None:
        """Say so, whatever the method."""
        raise SentenceError(404, f"there is no {self.request.path[:100]}; docs/monitor.md has what there is")
