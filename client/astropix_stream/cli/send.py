"""``apx send``: play .apx files into a multicast group."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from astropix_stream.cli.files.reading import Reading
from astropix_stream.cli.playing import player, replay
from astropix_stream.cli.terminal import ending, options, progress
from astropix_stream.cli.terminal.given import Given
from astropix_stream.errors import ConfigError
from astropix_stream.files import STDIN
from astropix_stream.fmt import Kind
from astropix_stream.sock import DEFAULT_GROUP, DEFAULT_PORT, MulticastSender

_FOLLOW = "Following a file that a DAQ writes"

EXAMPLES = (
    "Examples:\n\n"
    "apx send run.apx  (as fast as it was recorded)\n\n"
    "apx send run.apx --speed 10 --interface eth1\n\n"
    "apx send --follow /data/run.bin --interface eth1  (while the DAQ writes it)\n\n"
    "apx send run.apx --loop --rate 1000 --now --loss 1% --seed 7"
)


def command(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Files to play, one after another.", show_default=False),
    ],
    *,
    context: typer.Context,
    group: options.GroupOption = DEFAULT_GROUP,
    port: options.PortOption = DEFAULT_PORT,
    interface: options.InterfaceOption = None,
    ttl: options.Ttl = 2,
    speed: options.Speed = 1,
    rate: options.Rate = None,
    loop: Annotated[
        bool,
        typer.Option("--loop", help="Repeat until Ctrl-C; each pass is a new run with newer timestamps."),
    ] = False,
    max_pause: Annotated[
        float,
        typer.Option(
            parser=options.positive,
            metavar="N",
            help="Skip pauses inside a file that are longer than N seconds.",
            show_default="a day",
        ),
    ] = replay.MAX_PAUSE_S,
    start: Annotated[int, typer.Option(metavar="N", min=0, help="Skip the first N readouts.")] = 0,
    count: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Play N readouts (in each pass).")
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Replace each timestamp with the time of sending.")
    ] = False,
    loss: options.LossOption = 0.0,
    duplicate: options.Duplicate = 0.0,
    reorder: options.Reorder = 0.0,
    seed: options.Seed = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Send what a DAQ writes to the file, as it is written; for a folder, to its newest file.",
            rich_help_panel=_FOLLOW,
        ),
    ] = False,
    begin: options.From = "beginning",
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to remember how far the file was sent; by default in $STATE_DIRECTORY or "
            "~/.local/state.",
            show_default=False,
            rich_help_panel=_FOLLOW,
        ),
    ] = None,
    kind: options.KindOption = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Play files into a multicast group, byte for byte, with the timing of the run.

    What is damaged in a file is left out; the exit code is then 2. With --follow, send what a DAQ writes to a
    file, live, until Ctrl-C: for a DAQ that does not multicast. When started again, it continues where it
    stopped.
    """
    given = Given(context)
    if follow:
        _check_follow(files, begin, given)
        destination = Destination(group, port, interface, ttl)
        _follow(files[0], destination, state, kind, from_end=begin == "end", as_json=as_json)
        return
    given.refuse("--from", "--state", because="needs --follow")
    if rate is not None:
        because = "is for the timing of the run, which --rate replaces: give one of the two"
        given.refuse("--speed", "--max-pause", because=because)
    if speed == replay.AT_ONCE:
        given.refuse("--max-pause", because="does nothing with --speed max, which makes no pause")
    options.check_seed(given)
    recording = RecordedRuns(files, start, count, kind=kind, max_pause_s=max_pause)
    extent = recording.measure()
    pacing = replay.Pacing(speed, rate)
    if rate is None and speed != replay.AT_ONCE:
        recording.check_times()
    dues = replay.repeat(recording.open_pass, extent) if loop else recording.open_pass()
    total, duration_s = (None, None) if loop else (extent.readouts, pacing.duration_s(extent) or None)
    network = replay.BadNetwork(loss=loss, duplicate=duplicate, reorder=reorder, seed=seed)
    with MulticastSender(group, port, ttl, interface=interface) as sender:
        playing = player.Player(sender, now=now, duration_s=duration_s, network=network)
        interrupted = playing.play(pacing.apply(dues), progress.open_display(total))
    playing.print_summary(as_json=as_json)
    recording.check()
    ending.finish(wrong=playing.incomplete, interrupted=interrupted and not loop)


class Destination(NamedTuple):
    """Where to send."""

    group: str
    port: int
    interface: str | None
    ttl: int


def _check_follow(files: list[Path], begin: str, given: Given) -> None:
    """Say what does not go with --follow."""
    if len(files) != 1:
        raise ConfigError("--follow takes one file or folder: start an apx send for each")
    if str(files[0]) == STDIN:
        raise ConfigError("--follow needs a file: standard input cannot be continued after a restart")
    if begin not in ("beginning", "end"):
        raise ConfigError(f"--from {begin!r}: write beginning or end")
    given.refuse(
        "--loop", "--start", "--count", "--now", "--rate", "--speed", "--max-pause", "--loss", "--duplicate",
        "--reorder", "--seed",
        because="does not go with --follow, which sends all that is written, as it is written: leave it out",
    )  # fmt: skip


def _follow(
    path: Path,
    to: Destination,
    state: Path | None,
    kind: Kind | None,
    *,
    from_end: bool,
    as_json: bool,
) -> None:
    from astropix_stream.cli.playing import progress_file, relaying  # noqa: PLC0415

    kept = progress_file.find_state(path, f"{to.group} {to.port}", state)
    with (
        progress_file.ProgressFile(kept) as progress_kept,
        MulticastSender(to.group, to.port, to.ttl, interface=to.interface) as sender,
    ):
        following = relaying.Relaying(path, sender, progress_kept, kind, from_end=from_end)
        ending.log.info("sending what is written to %s, to %s; state: %s", path, sender, kept)
        try:
            following.run()
        finally:
            following.print_summary(as_json=as_json)
    ending.finish(wrong=following.incomplete)


class RecordedRuns:
    """The readouts of some files, of which a part is played.

    Parameters
    ----------
    files
        One after another.
    start, count
        Which readouts of them all.
    kind
        What a person says that the readouts are.
    max_pause_s
        Longer pauses inside a file are left out.

    Attributes
    ----------
    damage : list of str
        What is wrong with the files, as far as they have been read; all whole readouts are played.
    """

    def __init__(
        self,
        files: list[Path],
        start: int,
        count: int | None,
        *,
        kind: Kind | None = None,
        max_pause_s: float = replay.MAX_PAUSE_S,
    ) -> None:
        self._files = files
        self._start, self._count = start, count
        self._kind, self._max_pause_s = kind, max_pause_s
        self._untimed: list[Path] = []
        self.damage: list[str] = []
        for path in files:
            if str(path) == STDIN or path.is_fifo():
                raise ConfigError(
                    f"{path}: a pipe can be read once, and send reads twice, to know the length: "
                    "write it to a file first"
                )

    def measure(self) -> replay.Extent:
        """Read all of it once.

        Raises
        ------
        Problem
            There is nothing to play.
        """
        extent = replay.measure(self.open_pass())
        if not extent.readouts:
            self.check()
            raise ending.Problem(
                f"nothing to play: no readout from number {self._start} on", ending.WRONG_INPUT
            )
        return extent

    def open_pass(self) -> Iterator[replay.Due]:
        """Begin to read again."""
        self.damage.clear()
        dues = replay.schedule(map(self._read, self._files), self._max_pause_s)
        return replay.select(dues, self._start, self._count)

    def _read(self, path: Path) -> Iterator[replay.Recorded]:
        """Give the whole readouts of a file, and note what else is in it."""
        count, timed = 0, False
        with Reading(path, self._kind) as reading:
            for readout in reading.datagrams():
                count += 1
                timed = timed or readout[2] != 0
                yield readout
            if count > 1 and not timed and path not in self._untimed:
                self._untimed.append(path)
            if reading.trouble:
                self.damage.append(reading.trouble)

    def check_times(self) -> None:
        """Raise that there are readouts whose times nobody knows, if there are; all have been read."""
        if self._untimed:
            names = ", ".join(map(str, self._untimed))
            raise ConfigError(
                f"{names}: the timestamps are all 0: say how fast to send, with --rate N (readouts per "
                "second) or --speed max"
            )

    def check(self) -> None:
        """Raise what is wrong with the files, if anything."""
        if self.damage:
            raise ending.Problem("; ".join(self.damage), ending.WRONG_INPUT)
