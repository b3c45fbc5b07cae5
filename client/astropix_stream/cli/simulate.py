"""``apx simulate``: a synthetic DAQ."""

import ipaddress
import json
import time
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import Annotated

import typer

from astropix_stream import numbers
from astropix_stream.addresses import check_address
from astropix_stream.cli.playing import player
from astropix_stream.cli.playing.replay import BadNetwork, Due
from astropix_stream.cli.playing.simulation import MAX_CHIP, Detector
from astropix_stream.cli.terminal import completing, ending, options, progress
from astropix_stream.cli.terminal.given import Given
from astropix_stream.errors import ConfigError
from astropix_stream.fileio import FileHeader, apx_open
from astropix_stream.fmt import ASTROPIX4
from astropix_stream.sock import DEFAULT_GROUP, DEFAULT_PORT, MulticastSender

EXAMPLES = (
    "Examples:\n\n"
    "apx simulate  (stays on this machine: apx monitor 'udp://239.1.1.1:5007?interface=lo' shows it)\n\n"
    "apx simulate --kind astep --chips 12 --rate 1000 --seconds 60 --seed 7\n\n"
    "apx simulate --interface eth1\n\n"
    "apx simulate --kind astropix3 --count 1000 --output run.apx"
)

_LOOPBACK = {4: "127.0.0.1", 6: "::1"}


def command(
    *,
    context: typer.Context,
    kind: options.SimulatedKind = None,
    group: options.GroupOption = DEFAULT_GROUP,
    port: options.PortOption = DEFAULT_PORT,
    interface: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Interface to send through, by name or address; by default the loopback interface.",
            autocompletion=completing.interfaces,
            rich_help_panel="Network",
            show_default=False,
        ),
    ] = None,
    ttl: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, max=255, show_default=False, rich_help_panel="Network",
            help="Number of routers that a readout may pass; by default 0 on the loopback interface, 2 "
            "elsewhere.",
        ),
    ] = None,
    rate: Annotated[
        float, typer.Option(parser=options.positive, metavar="N", help="Readouts per second.")
    ] = 100,
    hits: Annotated[
        float, typer.Option(metavar="N", min=0.0, max=1000.0, help="Mean number of pixels hit in a readout.")
    ] = 3,
    chip: Annotated[
        int, typer.Option(metavar="N", min=0, max=MAX_CHIP, help="Number of the first chip.")
    ] = 0,
    chips: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=96, help="Number of chips; for A-STEP, spread over its layers."
        ),
    ] = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, show_default=False,
            help="Write an .apx file instead of sending; needs --count or --seconds.",
        ),
    ] = None,
    force: options.Force = False,
    count: options.Count = None,
    seconds: options.Seconds = None,
    seed: options.Seed = None,
    loss: options.LossOption = 0.0,
    duplicate: options.Duplicate = 0.0,
    reorder: options.Reorder = 0.0,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:  # fmt: skip
    """Multicast the readouts of a simulated detector: a beam spot, a spectrum, noise, and split hits.

    Runs until Ctrl-C, or for --count or --seconds. Timestamps are the time of sending. Readouts stay on this
    machine unless --interface names another interface, since a real DAQ may use the same group.
    """
    given = Given(context)
    if output is not None:
        given.refuse(
            "--group", "--port", "--interface", "--ttl",
            because="is for sending, and --output writes a file: leave one of them out",
        )  # fmt: skip
    else:
        given.refuse("--force", because="goes with --output FILE: nothing is overwritten without")
    detector = Detector(seed=seed, rate=rate, hits=hits, chip=chip, chips=chips, kind=kind or ASTROPIX4)
    start_ns = time.time_ns() if output else 0
    readouts: Iterator[Due] = islice(dues(detector, start_ns), count)
    if seconds is not None:
        readouts = takewhile(lambda due: due.after_s < seconds, readouts)
    total, duration_s = _extent(rate, count, seconds)
    network = BadNetwork(loss=loss, duplicate=duplicate, reorder=reorder, seed=seed)
    if output is not None:
        _write(output, detector, readouts, network, seed=seed, total=total, force=force, as_json=as_json)
        return
    interface, ttl = _way(group, port, interface, ttl)
    with MulticastSender(group, port, ttl, interface=interface) as sender:
        ending.log.info("simulated readouts of %s, not those of a detector", detector.kind)
        playing = player.Player(sender, now=True, duration_s=duration_s, network=network)
        interrupted = playing.play(readouts, progress.open_display(total))
    playing.print_summary(as_json=as_json)
    ending.finish(wrong=playing.incomplete, interrupted=interrupted and duration_s is not None)


def _way(group: str, port: int, interface: str | None, ttl: int | None) -> tuple[str | None, int]:
    """Return the interface and the TTL to send with."""
    version = check_address(group, port)
    address = ipaddress.ip_address(group)
    if interface is None and not (address.is_multicast or address.is_loopback):
        raise ConfigError(
            f"{group} is not on this machine: name the --interface to send simulated readouts there"
        )
    if interface is None and address.is_multicast:
        interface = _LOOPBACK[version]
    stays = address.is_loopback or _is_loopback(interface)
    return interface, (0 if stays else 2) if ttl is None else ttl


def _is_loopback(interface: str | None) -> bool:
    try:
        return ipaddress.ip_address(interface or "").is_loopback
    except ValueError:
        return interface in ("lo", "lo0")


def _write(
    path: Path,
    detector: Detector,
    readouts: Iterator[Due],
    network: BadNetwork,
    *,
    seed: int | None,
    total: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the readouts to a file, whose header says that they are simulated."""
    if total is None:
        raise ConfigError("--output needs --count or --seconds")
    if path.suffix != ".apx":
        raise ConfigError(f"{path}: the output file must end in .apx")
    if path.exists() and not force:
        raise ConfigError(f"{path} exists: choose another name, or overwrite it with --force")
    settings = {"seed": seed, "rate": detector.rate, "hits": detector.hits, "chips": detector.chips}
    header = FileHeader(detector.kind.readout_class, {"simulated": settings})
    written = 0
    with apx_open(path, "wb", header) as file:
        for due in readouts:
            for raw in network.carry(due.raw):
                file.write(raw)
                written += 1
        for raw in network.rest():
            file.write(raw)
            written += 1
    if as_json:
        print(json.dumps({"file": str(path), "readouts": written, "readout_uid": detector.kind.uid}))
    else:
        print(f"{numbers.counted(written, 'simulated readout')} of {detector.kind} written to {path}")


def dues(detector: Detector, start_ns: int = 0) -> Iterator[Due]:
    """Iterate without end over the readouts of a simulated detector that starts at a time."""
    for after_s, readout in detector.readouts(start_ns):
        yield Due(after_s, readout.to_bytes(), readout.readout_id, readout.timestamp)


def _extent(rate: float, count: int | None, seconds: float | None) -> tuple[int | None, float | None]:
    """Return how many readouts there will be, and in how many seconds; None where there is no end."""
    limits = [limit for limit in (count, None if seconds is None else seconds * rate) if limit is not None]
    return (round(min(limits)), min(limits) / rate) if limits else (None, None)
