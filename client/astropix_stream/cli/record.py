"""``apx record``: write what arrives to .apx files."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from astropix_stream import clock, fitting, numbers
from astropix_stream.cli.files.recorder import Recorder
from astropix_stream.cli.files.splitting import parse_splitting
from astropix_stream.cli.terminal import ending, options, progress
from astropix_stream.cli.terminal.given import Given
from astropix_stream.cli.terminal.sources import OpenSource, Sources
from astropix_stream.errors import ConfigError, ReceiveTimeout
from astropix_stream.fmt import ASTROPIX4, Kind
from astropix_stream.url import SourceUrl

EXAMPLES = (
    "Examples:\n\n"
    "apx record 'udp://239.1.1.1:5007?interface=eth1' run.apx\n\n"
    "apx record tcp://relay:5556 night.apx --split runs --split 1GiB\n\n"
    "apx record tcp://relay-a:5556 tcp://relay-b:5556 run.apx  (two relays of the same stream)\n\n"
    "apx record nats://host:4222 shift.apx --from 2026-11-28T10:00 --to 2026-11-28T18:00\n\n"
    "run.json, next to run.apx, has the counts and what was lost where. Further files are numbered: "
    "run-2.apx."
)

_GATHER_S = 0.05  # that readouts may wait before they are written
_REST_S = 1.0  # at most, for what has arrived when the end comes


def command(
    urls: options.NetworkUrls,
    file: Annotated[Path, typer.Argument(metavar="FILE.apx", help="File to write.", show_default=False)],
    *,
    context: typer.Context,
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHEN",
            help="When to begin a new file: runs, source, a size (1GiB) or a time (1h). Repeatable.",
        ),
    ] = None,
    kind: options.RecordedKind = None,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="oldest|N|TIME",
            help="Only for a log: where to start; by default with live readouts.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--to", metavar="TIME", help="Only for a log: stop at readouts received at this time."),
    ] = None,
    force: options.Force = False,
    count: options.Count = None,
    seconds: options.Seconds = None,
    timeout: options.Timeout = None,
    key: options.Key = None,
    server_key: options.ServerKey = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Record what arrives, byte for byte, until Ctrl-C.

    Each source of readouts gets a file of its own. If the recorder is killed, at most the last second is
    lost. The exit code is 1 if nothing was recorded, or something could not be written.
    """
    splitting = parse_splitting(split or ())
    checked, until_ns = options.with_times(options.with_keys(urls, key, server_key), begin, until)
    _check_sources(checked)
    streams = options.as_streams(checked, Given(context))
    with Sources(streams, timeout, gather_s=_GATHER_S, count=count) as sources:
        (source,) = sources
        recorder = Recorder(
            file,
            str(source),
            splitting,
            source.account_json,
            force=force,
            kind=lambda: _kind(source, kind),
        )
        recording = Recording(sources, recorder)
        interrupted, late = False, None
        try:
            sources.wait_ready()
            interrupted = recording.run(count, seconds, until_ns)
        except KeyboardInterrupt:
            interrupted = True
        except ReceiveTimeout as error:
            late = error
        recording.finish()
        print(json.dumps(recording.to_json(source)) if as_json else recording.summary(source))
    if recorder.error is not None:
        raise ending.Problem(recording.failure())
    if late is not None and (count or not recorder.readouts):
        raise late
    ending.finish(
        wrong=not recorder.readouts or recorder.deleted > 0,
        interrupted=interrupted and bool(count or seconds),
    )


def _check_sources(sources: Sequence[SourceUrl]) -> None:
    """Refuse a file: a recording is of what comes from a network."""
    if file := next((source for source in sources if source.scheme == "file"), None):
        raise ConfigError(
            f"{file} is a file, and record writes what comes from a network; "
            f"`apx convert {file} FILE.apx` makes an .apx file of it"
        )


def _kind(source: OpenSource, named: Kind | None) -> int:
    """Return the kind to write into the header: what the relay says, or else the person."""
    told = source.receiver.readout_uid
    if told is None:
        return ASTROPIX4.uid if named is None else named.uid
    if named is not None and named.uid != told:
        raise ConfigError(
            f"{source}: the relay says that the readouts are {fitting.describe(told)}, --kind says {named}: "
            "leave the option out"
        )
    return told


class Recording:
    """Takes what arrives to the recorder, and shows how far it is.

    Parameters
    ----------
    sources
        Where from.
    recorder
        Where to.
    """

    def __init__(self, sources: Sources, recorder: Recorder) -> None:
        self._sources = sources
        self._recorder = recorder
        self._begin_s = time.monotonic()

    def run(self, count: int | None, seconds: float | None, until_ns: int | None = None) -> bool:
        """Record so many readouts or seconds, or until the disk is full; return whether Ctrl-C came first.

        With `until_ns`, ns since the Unix epoch, until what the relay received then or later.

        Ctrl-C waits for a readout that was read to be written.
        """
        recorder = self._recorder
        end_s = math.inf if seconds is None else self._begin_s + seconds
        with ending.deferred() as asked, progress.open_display(count) as display:
            for arrived in self._sources.rounds():
                for _, batch in arrived:
                    if until_ns is not None and batch.received_ns >= until_ns:
                        return False
                    recorder.take(batch, clock.now())
                now = clock.now()
                recorder.tick(now)
                if display.due(now.s):
                    display.show(now.s, recorder.readouts, self._note())
                if recorder.error is not None or now.s >= end_s:
                    return False
                if until_ns is not None and not arrived and now.ns >= until_ns and self._caught_up():
                    return False
                if asked.is_set():
                    return not self._sources.ended
        return False

    def _caught_up(self) -> bool:
        return all(getattr(source.receiver, "caught_up", True) for source in self._sources)

    def _note(self) -> str:
        lost = sum(source.receiver.ledger.lost for source in self._sources)
        return f"{numbers.size(self._recorder.size)}, {lost} lost"

    def finish(self) -> None:
        """Take what has arrived already, unless there is enough, and close the files."""
        deadline_s = time.monotonic() + _REST_S
        while not self._sources.ended and time.monotonic() < deadline_s:
            arrived = self._sources.poll(0.0)
            for _, batch in arrived:
                self._recorder.take(batch, clock.now())
            if not arrived:
                break
        self._recorder.close(clock.now())

    def summary(self, source: OpenSource) -> str:
        """Return the line for the end."""
        recorder = self._recorder
        paths = [str(part.path) for part in recorder.parts]
        if not paths:
            return f"nothing was recorded, and no file was written; {source}: {source.account()}"
        names = ", ".join(paths) if len(paths) < 4 else f"{len(paths)} files, {paths[0]} to {paths[-1]}"
        seconds = numbers.duration(time.monotonic() - self._begin_s)
        gone = numbers.counted(recorder.deleted, "more readout")
        deleted = f"; {gone} in files that were deleted meanwhile" if recorder.deleted else ""
        return (
            f"recorded {numbers.counted(recorder.readouts, 'readout')}, {numbers.size(recorder.size)}, "
            f"in {seconds}, to {names}; {source.account()}{deleted}"
        )

    def to_json(self, source: OpenSource) -> dict[str, Any]:
        """Return the same for programs."""
        recorder = self._recorder
        files = [
            {"file": str(part.path), "readouts": part.readouts, "bytes": part.size} for part in recorder.parts
        ]
        return {
            "readouts": recorder.readouts,
            "not_written": recorder.not_written,
            "files": files,
            "stream": source.account_json(),
        }

    def failure(self) -> str:
        """Say why nothing more was written, and what there is."""
        recorder, error = self._recorder, self._recorder.error
        assert error is not None
        return (
            f"recording has stopped: {error.strerror}; {numbers.counted(recorder.readouts, 'whole readout')} "
            f"written, {recorder.not_written} more received and not written"
        )
