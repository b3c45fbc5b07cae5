"""What the answers of /api have in common: the view that the query asks for, JSON, errors in a sentence."""

import json
from collections.abc import Mapping
from typing import Any

from tornado.web import HTTPError, RequestHandler

from astropix_stream.errors import ConfigError
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.feed import Feed
from astropix_stream.monitor.view import View


class Handler(RequestHandler):
    """Answers with a view; what to show is in the query, as in `Choice`."""

    def initialize(self, feed: Feed, **shared: Any) -> None:
        """Take what the route was registered with: the feed, and what else its requests share."""
        self._feed = feed
        self.shared = shared

    def head(self, *names: str) -> Any:
        """Answer as GET does; tornado leaves the body out, and waits for what is returned."""
        return self.get(*names)

    def view(self, panel: str = "overview") -> View:
        """Return what the query asks for, with a part of the page open."""
        try:
            choice = Choice.read(self._query(), self._feed.geometry).model_copy(update={"panel": panel})
        except ConfigError as error:
            raise HTTPError(400, str(error)) from None
        view = self._feed.view(choice)
        if choice.run is not None and (view.run is None or view.choice.run is None):
            raise HTTPError(404, f"there is no run {choice.run}, or it is no longer kept")
        return view

    def _query(self) -> Mapping[str, str]:
        return {name: self.get_query_argument(name) for name in self.request.query_arguments}

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
        self.finish((getattr(error, "log_message", None) or self._reason) + "\n")
