"""The desk's part of /api: alarms, and the notes of the shift crew, which can be written here."""

import csv
import io
import json
import time
from typing import Any

from tornado.web import HTTPError

from astropix_stream.errors import ConfigError
from astropix_stream.monitor.desk import Desk
from astropix_stream.monitor.guard import Bucket
from astropix_stream.monitor.handlers import Handler

NOTES, NOTES_PER_S = 10, 0.2  # at once, and further ones a second, of all viewers together


def desk_routes(desk: Desk) -> list[tuple[Any, ...]]:
    """Return the routes."""
    common = {"feed": desk.feed, "desk": desk}
    return [
        (r"/api/alarms\.json", _AlarmsHandler, common),
        (r"/api/notes\.json", _NotesHandler, common | {"bucket": Bucket(NOTES, NOTES_PER_S)}),
        (r"/api/notes\.csv", _NotesTableHandler, common),
    ]


class _DeskHandler(Handler):
    @property
    def desk(self) -> Desk:
        desk: Desk = self.shared["desk"]
        return desk


class _AlarmsHandler(_DeskHandler):
    def get(self) -> None:
        self.write_json(self.desk.watcher.to_json())


class _NotesHandler(_DeskHandler):
    def get(self) -> None:
        self.write_json(self.desk.notes_to_json())

    def post(self) -> None:
        """Add a note. The type keeps forms of other websites out: a browser does not let them send JSON."""
        if not self.request.headers.get("Content-Type", "").lower().startswith("application/json"):
            raise HTTPError(415, "a note is sent as application/json")
        try:
            values = json.loads(self.request.body)
        except (ValueError, RecursionError):
            raise HTTPError(400, 'a note is {"text": "…", "author": "…"}') from None
        if not self.shared["bucket"].take(time.monotonic()):
            raise HTTPError(429, "too many notes at once; try again in a few seconds")
        try:
            note = self.desk.add_note(values)
        except ConfigError as error:
            raise HTTPError(400, str(error)) from None
        self.set_status(201)
        self.write_json(note.to_json())


class _NotesTableHandler(_DeskHandler):
    def get(self) -> None:
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", 'attachment; filename="notes.csv"')
        self.finish(notes_table(self.desk.notes_to_json()))


def notes_table(notes: list[dict[str, Any]]) -> str:
    """Return notes as CSV. A text that a spreadsheet would take for a formula is marked as text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("time", "author", "text", "run_of"))
    for note in notes:
        words = (_plain(note["author"]), _plain(note["text"]))
        writer.writerow((note["time"], *words, note["run_of"] or ""))
    return text.getvalue()


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
