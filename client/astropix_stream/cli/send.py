"""``apx send``: play .apx files into a multicast group."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from astropix_stream.cli.files.reading import Reading
from astropix_stream.cli.playing import player, replay
from astropix_stream.cli.terminal import ending, options, progress
from astropix_stream.sock import DEFAULT_GROUP, DEFAULT_PORT, MulticastSender

EXAMPLES = (
    "Examples:\n\n"
    "apx send run.apx  (as fast as it was recorded)\n\n"
    "apx send run.apx --speed 10 --interface eth1\n\n"
    "apx send run.apx --loop --rate 1000 --now --loss 1% --seed 7"
)


def command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="One after another.", show_default=False)
    ],
    *,
    group: options.GroupOption = DEFAULT_GROUP,
    port: options.PortOption = DEFAULT_PORT,
    interface: options.InterfaceOption = None,
    ttl: options.Ttl = 2,
    speed: options.Speed = 1.0,
    rate: options.Rate = None,
    loop: Annotated[
        bool,
        typer.Option(
            "--loop", help="Again and again, until Ctrl-C; each pass is a run with newer timestamps."
        ),
    ] = False,
    start: Annotated[int, typer.Option(min=0, help="Leave out so many readouts at the beginning.")] = 0,
    count: Annotated[int | None, typer.Option(min=1, help="Play so many readouts (in each pass).")] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Replace the timestamps by the time of sending.")
    ] = False,
    loss: options.LossOption = 0.0,
    duplicate: options.Duplicate = 0.0,
    reorder: options.Reorder = 0.0,
    seed: options.Seed = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Play .apx files into a multicast group, byte for byte, with the timing of the run.

    A damaged file is played up to the damage; the exit code then is 2.
    """
    recording = RecordedRuns(files, start, count)
    extent = recording.measure()
    pacing = replay.Pacing(speed, rate)
    dues = replay.repeat(recording.open_pass, extent) if loop else recording.open_pass()
    total, duration_s = (None, None) if loop else (extent.readouts, pacing.duration_s(extent) or None)
    network = replay.BadNetwork(loss=loss, duplicate=duplicate, reorder=reorder, seed=seed)
    with MulticastSender(group, port, ttl, interface=interface) as sender:
        playing = player.Player(sender, now=now, duration_s=duration_s, network=network)
        interrupted = playing.play(pacing.apply(dues), progress.open_display(total))
    playing.print_summary(as_json=as_json)
    recording.check()
    ending.finish(wrong=playing.incomplete, interrupted=interrupted and not loop)


class RecordedRuns:
    """The readouts of some files, of which a part is played.

    Parameters
    ----------
    files
        One after another.
    start, count
        Which readouts of them all.

    Attributes
    ----------
    damage : list of str
        What is wrong with the files, as far as they have been read; whole readouts before it are played.
    """

    def __init__(self, files: list[Path], start: int, count: int | None) -> None:
        self._files = files
        self._start, self._count = start, count
        self.damage: list[str] = []

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
        """Begin to read anew."""
        self.damage.clear()
        return replay.select(replay.schedule(map(self._read, self._files)), self._start, self._count)

    def _read(self, path: Path) -> Iterator[replay.Recorded]:
        """Give the whole readouts of a file, and note what else is in it."""
        with Reading(path) as reading:
            yield from reading.datagrams()
            if reading.trouble:
                self.damage.append(reading.trouble)

    def check(self) -> None:
        """Raise what is wrong with the files, if anything."""
        if self.damage:
            raise ending.Problem("; ".join(self.damage), ending.WRONG_INPUT)
