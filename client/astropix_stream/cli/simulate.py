"""``apx simulate``: a synthetic DAQ."""

from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Annotated

import typer

from astropix_stream.cli.playing import player
from astropix_stream.cli.playing.replay import BadNetwork, Due
from astropix_stream.cli.playing.simulation import MAX_CHIP, Detector
from astropix_stream.cli.terminal import ending, options, progress
from astropix_stream.sock import DEFAULT_GROUP, DEFAULT_PORT, MulticastSender

EXAMPLES = (
    "Examples:\n\n"
    "apx simulate --interface 127.0.0.1 --ttl 0  (stays on this machine)\n\n"
    "apx simulate --rate 1000 --seconds 60 --seed 7"
)


def command(
    *,
    group: options.GroupOption = DEFAULT_GROUP,
    port: options.PortOption = DEFAULT_PORT,
    interface: options.InterfaceOption = None,
    ttl: options.Ttl = 2,
    rate: Annotated[
        float, typer.Option(parser=options.positive, metavar="N", help="Readouts per second.")
    ] = 100.0,
    hits: Annotated[float, typer.Option(min=0.0, max=1000.0, help="Mean number of hits in a readout.")] = 3.0,
    chip: Annotated[int, typer.Option(min=0, max=MAX_CHIP, help="Number of the chip.")] = 0,
    count: options.Count = None,
    seconds: options.Seconds = None,
    seed: options.Seed = None,
    loss: options.LossOption = 0.0,
    duplicate: options.Duplicate = 0.0,
    reorder: options.Reorder = 0.0,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Multicast the readouts of a detector that is not there: a beam spot, a spectrum, some noise.

    Runs until Ctrl-C, or as long as --count and --seconds say. Timestamps are the time of sending.
    """
    readouts: Iterator[Due] = islice(dues(Detector(seed=seed, rate=rate, hits=hits, chip=chip)), count)
    if seconds is not None:
        readouts = takewhile(lambda due: due.after_s < seconds, readouts)
    total, duration_s = _extent(rate, count, seconds)
    network = BadNetwork(loss=loss, duplicate=duplicate, reorder=reorder, seed=seed)
    with MulticastSender(group, port, ttl, interface=interface) as sender:
        playing = player.Player(sender, now=True, duration_s=duration_s, network=network)
        interrupted = playing.play(readouts, progress.open_display(total))
    playing.print_summary(as_json=as_json)
    ending.finish(wrong=playing.incomplete, interrupted=interrupted and duration_s is not None)


def dues(detector: Detector) -> Iterator[Due]:
    """Iterate over the readouts of a simulated detector, for ever."""
    for after_s, readout in detector.readouts():
        yield Due(after_s, readout.to_bytes(), readout.readout_id, readout.timestamp)


def _extent(rate: float, count: int | None, seconds: float | None) -> tuple[int | None, float | None]:
    """Return how many readouts there will be, and in how many seconds; None where there is no end."""
    limits = [limit for limit in (count, None if seconds is None else seconds * rate) if limit is not None]
    return (round(min(limits)), min(limits) / rate) if limits else (None, None)
