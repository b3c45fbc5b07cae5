"""``apx demo``: the whole chain on the loopback interface, and what arrives at its two ends."""

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import takewhile
from typing import IO, Annotated

import typer

from astropix_stream import clock, numbers
from astropix_stream.cli.playing import player
from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.cli.showing.demo_page import open_page
from astropix_stream.cli.showing.demo_pictures import PicturedRow
from astropix_stream.cli.showing.top_view import Row
from astropix_stream.cli.showing.watching import Rows, take, watch
from astropix_stream.cli.simulate import dues
from astropix_stream.cli.terminal import ending, options, progress
from astropix_stream.cli.terminal.sources import Sources
from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import ASTROPIX4, Kind
from astropix_stream.sock import DEFAULT_GROUP, MulticastSender
from astropix_stream.url import parse_url

EXAMPLES = "Examples:\n\napx demo\n\napx demo --seconds 10 --rate 1000\n\napx demo --kind astep"

_LOOPBACK = "127.0.0.1"
_START_S = 20.0  # for the relay to come up, on a slow machine
_TAIL_S = 5.0  # for the last readouts to arrive, when the simulator has ended
_TURN_S = 0.1


def command(
    *,
    seconds: options.Seconds = None,
    rate: Annotated[
        float, typer.Option(parser=options.positive, metavar="N", help="Readouts per second.")
    ] = 100,
    kind: options.SimulatedKind = None,
    seed: options.Seed = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Also serve the live page.")] = True,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Run a simulated DAQ, a relay, a monitor and the live page on this machine, and show what arrives.

    Nothing leaves the loopback interface. The readouts are received twice: from the multicast group, and
    through the relay. Runs until Ctrl-C; the exit code is 1 if a readout was lost on either path, or none
    arrived. With --json the records are those of `apx top --json`, and the last line accounts for both paths.
    """
    ending.only_warnings()
    with ExitStack() as stack:
        port, endpoint = _free_port(), f"tcp://{_LOOPBACK}:{_free_pair()}"
        made = kind or ASTROPIX4
        detector = Detector(rate=rate, seed=seed, kind=made)
        relay = stack.enter_context(_relay(port, endpoint, made))
        page_program = stack.enter_context(open_page(endpoint)) if page else None
        multicast = f"udp://{DEFAULT_GROUP}:{port}?interface={_LOOPBACK}"
        sources = stack.enter_context(Sources([[parse_url(multicast)], [parse_url(endpoint)]], kind=made))
        relay.wait_for(sources)
        direct, relayed = sources
        shown = PicturedRow(relayed, "through the relay", made)
        rows: Rows = {direct: Row(direct, "multicast"), relayed: shown}
        about = f"simulated {made} → {DEFAULT_GROUP}:{port} → relay → {endpoint}"
        if page_program is not None:
            where = page_program.where()
            about += f"\nthe live page: {where}"
            print(json.dumps({"page": where}) if as_json else f"the live page: {where}")
        daq = stack.enter_context(_simulated_daq(port, detector))

        def heading() -> str:
            counts = ", ".join(f"{row.name}: {row.readouts}" for row in rows.values())
            return f"sent {numbers.counted(daq.sent, 'readout')}; {counts}"

        interrupted = watch(
            sources, rows, seconds, as_json=as_json, heading=heading, below=lambda: shown.draw(about)
        )
        daq.stop()
        _catch_up(sources, rows, daq.sent)
        _print_verdict(rows, daq.sent, as_json=as_json)
        wrong = not daq.sent or any(_missing(row, daq.sent) for row in rows.values())
    ending.finish(wrong=wrong, interrupted=interrupted and seconds is not None)


def _catch_up(sources: Sources, rows: Rows, sent: int) -> None:
    """Take what is still on its way."""
    deadline_s = time.monotonic() + _TAIL_S
    while time.monotonic() < deadline_s and any(row.readouts < sent for row in rows.values()):
        take(sources, rows)
    for row in rows.values():
        row.tick(clock.now())


def _missing(row: Row, sent: int) -> int:
    """Return how many readouts were lost: those that are known to be, or simply did not come."""
    return max(row.ledger.lost, sent - row.ledger.delivered)


def _print_verdict(rows: Rows, sent: int, *, as_json: bool) -> None:
    """Say how it went, in the end."""
    if as_json:
        ways = {
            row.name.split()[-1]: {"readouts": row.readouts, "hits": row.hits, **row.source.account_json()}
            for row in rows.values()
        }
        print(json.dumps({"sent": sent, **ways}))
        return
    print(f"sent {numbers.counted(sent, 'readout')}")
    for row in rows.values():
        print(f"{row.name}: {numbers.counted(row.readouts, 'readout')}, {row.source.account()}")


class SimulatedDaq(threading.Thread):
    """Sends simulated readouts to the loopback interface, until it is told to stop."""

    def __init__(self, port: int, detector: Detector) -> None:
        super().__init__(name="simulated DAQ")
        self._stopping = threading.Event()
        self._detector = detector
        self._sender = MulticastSender(DEFAULT_GROUP, port, 0, interface=_LOOPBACK)

    @property
    def sent(self) -> int:
        """How many readouts were sent so far."""
        return self._sender.sent

    def run(self) -> None:
        """Send; the body of the thread."""
        with self._sender:
            going_on = takewhile(lambda _: not self._stopping.is_set(), dues(self._detector))
            player.Player(self._sender, now=True).play(going_on, progress.Nothing(None))

    def stop(self) -> None:
        """End the thread; a second call does nothing."""
        self._stopping.set()
        self.join()


@contextmanager
def _simulated_daq(port: int, detector: Detector) -> Iterator[SimulatedDaq]:
    daq = SimulatedDaq(port, detector)
    daq.start()
    try:
        yield daq
    finally:
        daq.stop()


class Relay:
    """The relay's process, and where it writes its log."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
        self._process = process
        self._log = log

    def wait_for(self, sources: Sources) -> None:
        """Wait until its readouts can arrive.

        Raises
        ------
        Problem
            It does not run; the text is its last word.
        """
        deadline_s = time.monotonic() + _START_S
        while True:
            try:
                for source in sources:
                    source.wait_ready(_TURN_S)
                return
            except ReceiveTimeout as error:
                if self._process.poll() is not None or time.monotonic() > deadline_s:
                    raise ending.Problem(f"the relay did not start: {self._last_word() or error}") from None

    def _last_word(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")


@contextmanager
def _relay(port: int, endpoint: str, kind: Kind) -> Iterator[Relay]:
    """Run a relay as the program that it is: this package does not know it from inside.

    In a process group of its own, Ctrl-C does not end it before this command has taken what is on its way.
    """
    stream = {"name": "astropix", "group": DEFAULT_GROUP, "port": port, "interface": _LOOPBACK}
    config = {"streams": [stream | {"readout_uid": kind.uid}], "publish": {"endpoint": endpoint}}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file, tempfile.TemporaryFile() as log:
        json.dump(config, file)  # which is YAML
        file.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", "astropix_relay", "run", "--config", file.name],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0,
        )  # fmt: skip
        try:
            yield Relay(process, log)
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _free_pair() -> int:
    """Find a free TCP port after which the next one is free too: the relay takes that for its history."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind((_LOOPBACK, 0))
            port = int(first.getsockname()[1])
            try:
                second.bind((_LOOPBACK, port + 1))
            except (OSError, OverflowError):  # taken, or beyond the last port
                continue
            return port
