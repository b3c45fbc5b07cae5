"""``apx receive``: print what arrives."""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import typer

from astropix_stream import numbers
from astropix_stream.batch import Batch, Source
from astropix_stream.cli.terminal import ending, options
from astropix_stream.cli.terminal.given import Given
from astropix_stream.cli.terminal.sources import OpenSource, Sources
from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fitting import Doubt
from astropix_stream.fmt import Readout
from astropix_stream.joining import Joiner, decoded

EXAMPLES = (
    "Examples:\n\n"
    "apx receive udp://239.1.1.1:5007 --hits\n\n"
    "apx receive run.apx --hits\n\n"
    "apx receive 'tcp://relay:5556?stream=astropix' --count 100 --timeout 5 --json\n\n"
    "With --json, each record is a readout (its data in hexadecimal) or, with --hits, a hit; the summary is "
    "JSON on standard error."
)


def command(
    urls: options.Urls,
    *,
    context: typer.Context,
    hits: Annotated[bool, typer.Option("--hits", help="Decode the readouts, and print every hit.")] = False,
    keep_duplicates: options.KeepDuplicates = False,
    kind: options.KindOption = None,
    count: options.Count = None,
    timeout: options.Timeout = None,
    separate: options.Separate = False,
    follow: options.Follow = False,
    begin: options.From = "beginning",
    key: options.Key = None,
    server_key: options.ServerKey = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Print readouts as they arrive, until Ctrl-C or the end of a file; then say what was lost, and where.

    With --hits, duplicates (the same readout, received again) are left out. The exit code is 1 if nothing
    arrived within --timeout, or fewer readouts than --count; 2 if a file is damaged.
    """
    given = Given(context)
    if not hits:
        given.refuse("--keep-duplicates", because="goes with --hits: without it, every readout is printed")
    checked = options.with_follow(options.with_keys(urls, key, server_key), given, follow, begin)
    how = How(hits, as_json, keep_duplicates)
    streams = options.as_streams(checked, given, separate=separate)
    with Sources(streams, timeout, kind, count=count, unique=how.leaves_out) as sources:
        reception = Printer(sources, how)
        interrupted, timed_out = False, None
        try:
            sources.wait_ready()
            interrupted = reception.run()
        except KeyboardInterrupt:
            interrupted = True
        except BrokenPipeError:
            ending.silence_stdout()
        except ReceiveTimeout as error:
            timed_out = error
        if interrupted:
            ending.leave_line()
        reception.print_summary()
    if timed_out and (count or not reception.readouts):
        raise timed_out
    if any(source.is_damaged for source in sources):
        ending.finish_with(ending.WRONG_INPUT)
    ending.finish(interrupted=interrupted and count is not None)


class How(NamedTuple):
    """What to print of readouts."""

    hits: bool
    as_json: bool
    keep_duplicates: bool

    @property
    def leaves_out(self) -> bool:
        """Whether duplicates are not printed."""
        return self.hits and not self.keep_duplicates


class Printer:
    """Prints readouts or hits, for people or for programs, and counts them."""

    def __init__(self, sources: Sources, how: How) -> None:
        self._sources = sources
        self._hits, self._as_json = how.hits, how.as_json
        self._leaves_out = how.leaves_out
        self._label = len(sources) > 1
        # A hit may be split between a readout and the next one of the same DAQ.
        self._joiners: defaultdict[tuple[OpenSource, Source], Joiner] = defaultdict(Joiner)
        self._doubts: defaultdict[OpenSource, Doubt] = defaultdict(Doubt)
        self.readouts = self.hits = self.left_out = 0

    def run(self) -> bool:
        """Print until there are as many as wanted, or until Ctrl-C; return whether it was Ctrl-C."""
        with ending.deferred() as asked:
            for arrived in self._sources.rounds():
                for source, batch in arrived:
                    self._print(source, batch)
                if asked.is_set():
                    break
        return asked.is_set() and not self._sources.ended

    def _print(self, source: OpenSource, batch: Batch) -> None:
        for readout in self._decoded(source, batch):
            for line in self._lines(source, batch, readout):
                print(line)
            self.readouts += 1

    def _decoded(self, source: OpenSource, batch: Batch) -> Iterator[Readout[Any]]:
        """Make readouts of a batch, and decode them if hits are wanted."""
        if self._leaves_out:
            self.left_out += sum(batch.duplicates)
            batch = batch.without_duplicates()
        readout_class = source.kind.readout_class
        if not self._hits:
            yield from map(readout_class.from_bytes, batch.datagrams())
            return
        readouts = readout_class.from_payload(batch.payload, batch.ends, batch.readout_ids, batch.timestamps)
        joiner = self._joiners[source, batch.source]
        for readout in decoded(readouts, joiner, batch.run_starts, batch.duplicates):
            self.hits += len(readout.hits())
            if self._doubts[source].note(readout):
                ending.log.warning("%s: %s", source, self._doubts[source].text)
            yield readout

    def _lines(self, source: OpenSource, batch: Batch, readout: Readout[Any]) -> Iterator[str]:
        return (
            map(json.dumps, self._records(source, batch, readout))
            if self._as_json
            else self._texts(source, readout)
        )

    def _texts(self, source: OpenSource, readout: Readout[Any]) -> Iterator[str]:
        yield f"{source}: {readout}" if self._label else str(readout)
        if self._hits:
            yield from (f"  {text}" for text in readout.hits_as_text(clean=False))

    def _records(self, source: OpenSource, batch: Batch, readout: Readout[Any]) -> Iterator[dict[str, Any]]:
        origin = {"url": str(source), "source": str(batch.source), "received_ns": batch.received_ns}
        if not self._hits:
            yield origin | {
                "readout_id": readout.readout_id,
                "timestamp": readout.timestamp,
                "data": readout.hex(),
            }
            return
        for hit in readout.hits():
            yield origin | dict(zip(hit.ATTRIBUTE_NAMES, hit.attribute_values(), strict=True))

    def print_summary(self) -> None:
        """Print what came and what did not, on standard error."""
        if self._as_json:
            accounts = [source.account_json() for source in self._sources]
            print(
                json.dumps(
                    {
                        "readouts": self.readouts,
                        "hits": self.hits,
                        "duplicates_left_out": self.left_out,
                        "doubts": {
                            str(source): doubt.text for source, doubt in self._doubts.items() if doubt.text
                        },
                        "sources": accounts,
                    }
                ),
                file=sys.stderr,
            )
            return
        hits = f", {numbers.counted(self.hits, 'hit')}" if self._hits else ""
        left_out = f"; {numbers.counted(self.left_out, 'duplicate')} left out" if self.left_out else ""
        print(f"{numbers.counted(self.readouts, 'readout')}{hits}{left_out}", file=sys.stderr)
        for source in self._sources:
            print(*source.accounts(), sep="\n", file=sys.stderr)
