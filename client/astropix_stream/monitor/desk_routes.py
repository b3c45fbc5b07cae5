"""The desk's part of /api: alarms, and the notes of the shift crew, which can be written here."""

import json
import time
from typing import Any

from tornado.ioloop import IOLoop

from astropix_stream.errors import ConfigError
from astropix_stream.monitor import binary
from astropix_stream.monitor.desk import Desk
from astropix_stream.monitor.guard import Bucket
from astropix_stream.monitor.handlers import Handler, SentenceError
from astropix_stream.monitor.notes import notes_table

NOTES, NOTES_PER_S = 10, 0.2  # at once, and further ones a second, of all viewers together


def desk_routes(desk: Desk) -> list[tuple[Any, ...]]:
    """Return the routes."""
    common = {"feed": desk.feed, "desk": desk}
    return [
        (r"/api/alarms\.json", _AlarmsHandler, common),
        (r"/api/notes\.json", _NotesHandler, common | {"bucket": Bucket(NOTES, NOTES_PER_S)}),
        (r"/api/notes\.csv", _NotesTableHandler, common),
        (rf"/api/page\.({'|'.join(binary.FORMATS)})", _BinaryHandler, common),
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
            raise SentenceError(415, "a note is sent as application/json")
        try:
            values = json.loads(self.request.body)
        except (ValueError, RecursionError):
            raise SentenceError(400, 'a note is {"text": "…", "author": "…"}') from None
        if not self.shared["bucket"].take(time.monotonic()):
            raise SentenceError(429, "too many notes at once; try again in a few seconds")
        try:
            note = self.desk.add_note(values)
        except ConfigError as error:
            raise SentenceError(400, str(error)) from None
        self.set_status(201)
        self.write_json(note.to_json())


class _BinaryHandler(_DeskHandler):
    async def get(self, name: str) -> None:
        """Everything that is shown, in one file; other viewers do not wait for it."""
        view = self.view()
        content = binary.content_of(view, self.desk.notes_to_json(), self.desk.watcher.to_json())
        try:
            file = await IOLoop.current().run_in_executor(None, binary.FORMATS[name], content)
        except ConfigError as error:
            raise SentenceError(501, str(error)) from None
        number = f"_{view.run.name}" if view.run else ""
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", f'attachment; filename="astropix{number}.{name}"')
        self.finish(file)


class _NotesTableHandler(_DeskHandler):
    def get(self) -> None:
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", 'attachment; filename="notes.csv"')
        self.finish(notes_table(self.desk.notes_to_json()))
