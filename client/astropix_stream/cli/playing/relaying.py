"""Send what is written to a file: the loop of `apx send --follow`."""

import errno
import json
import os
import time
from pathlib import Path

from astropix_stream import numbers
from astropix_stream.cli.playing.progress_file import Flight, ProgressFile, Record
from astropix_stream.cli.terminal import ending
from astropix_stream.files.following import BLOCK, REST_S, Follower
from astropix_stream.files.parser import Found
from astropix_stream.fmt import Kind
from astropix_stream.sock import MulticastSender

_CATCH_UP_S = 0.004  # after each 64 KiB of what has piled up: 16 MB/s, which receivers can take


class Relaying:
    """Follows a file, and sends each readout once, also over restarts.

    Parameters
    ----------
    path
        The file or folder.
    sender, state
        Where to send to, and where to keep how far that has come.
    kind
        What a person says that the readouts are.
    from_end
        Leave out what is there, unless there is a record of how far it was sent.
    """

    def __init__(
        self, path: Path, sender: MulticastSender, state: ProgressFile, kind: Kind | None, *, from_end: bool
    ) -> None:
        self._sender, self._state = sender, state
        record = state.read()
        resume = record.position if record else None
        self._follower = Follower(path, kind, from_end=from_end and record is None, resume=resume)
        self._files = self._follower.files
        self._flight = record.flight if record and self._files else None
        if resume is not None and self._files:
            ending.log.info("continuing at byte %d", resume.offset)
        self.sent_again = self.bytes = 0
        self._start_s = time.monotonic()

    def run(self) -> None:
        """Send until a signal asks to end."""
        with ending.deferred() as asked:
            self._send_flight()
            read = 0
            while not asked.is_set():
                found = self._follower.poll()
                if not found:
                    self._note_file()
                for readout in found:
                    self._send(readout)
                if not self._follower.behind:
                    read = 0
                    asked.wait(REST_S)
                    continue
                read += sum(readout.end - readout.begin for readout in found)
                if read > BLOCK:
                    read = 0
                    asked.wait(_CATCH_UP_S)
        self._follower.close()

    def _note_file(self) -> None:
        """Note that another file has begun, so that a restart finds it."""
        begins = self._follower.begins if self._follower.files != self._files else None
        if begins is not None:
            self._files = self._follower.files
            self._state.write(Record(begins))

    def _send_flight(self) -> None:
        """Send again what may not have been sent before this process began."""
        flight = self._flight
        if flight is None:
            return
        raw = self._follower.read_again(*flight)
        if raw is None:
            ending.log.warning("readout %d cannot be sent again: the file has changed", flight.readout_id)
            return
        self.sent_again += 1
        self.bytes += self._sender.send_data(raw)
        self._state.write(Record(self._follower.position(flight.end, flight.readout_id + 1)))

    def _send(self, readout: Found) -> None:
        position = self._follower.position(readout.end, readout.readout_id + 1)
        self._files = self._follower.files
        flight = Flight(readout.begin, readout.end, readout.readout_id, readout.timestamp)
        self._state.write(Record(position, flight))
        self.bytes += self._sender.send_data(readout.raw)
        self._state.write(Record(position))

    @property
    def incomplete(self) -> bool:
        """Whether the network did not take some readouts."""
        return bool(self._sender.not_sent)

    def print_summary(self, *, as_json: bool) -> None:
        """Print what was sent, for people or for programs."""
        sender, seconds = self._sender, time.monotonic() - self._start_s
        if as_json:
            value = {"sent": sender.sent, "bytes": self.bytes, "seconds": round(seconds, 3)}
            lost = {errno.errorcode.get(n, str(n)): count for n, count in sender.not_sent.items()}
            print(json.dumps(value | {"not_sent": lost, "sent_again": self.sent_again}))
            return
        sent = f"sent {numbers.counted(sender.sent, 'readout')}, {numbers.size(self.bytes)}"
        lost_text = "".join(f"; not sent: {count} ({os.strerror(n)})" for n, count in sender.not_sent.items())
        print(f"{sent}, in {numbers.duration(seconds)}, to {sender}{lost_text}; state: {self._state.path}")
