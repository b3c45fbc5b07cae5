"""What `apx monitor` runs: a receiver, its feed, the page, and snapshots."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from astropix_stream.fmt import AstroPix4Readout, Kind
from astropix_stream.monitor import server
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.feed import Feed
from astropix_stream.monitor.reference import read_references
from astropix_stream.monitor.snapshot import Snapshots
from astropix_stream.monitor.view import View
from astropix_stream.opening import open_receiver
from astropix_stream.url import SourceUrl, parse_url

StartOption: TypeAlias = str | int


def run(
    urls: Sequence[str | SourceUrl],
    *,
    listen: str | None = server.DEFAULT_LISTEN,
    origins: Sequence[str] = (),
    snapshots: Path | None = None,
    every_s: float = 60.0,
    start: StartOption = "oldest",
    kind: Kind | None = None,
    references: Sequence[Path] = (),
    announce: Callable[[str], None] = print,
) -> View:
    """Show what comes from some source until Ctrl-C; return the last view of it.

    Parameters
    ----------
    urls
        Of the stream; several are ways to the same one.
    listen, origins
        Where the page is, and under which other addresses browsers may show it; None: no page.
    snapshots, every_s
        Where to write pictures and numbers, and how often; None: nowhere.
    start
        With what to begin, of a relay that has history or of a log: see `relay.RelayReceiver`.
    kind
        What the readouts are; None takes the relay's word for it, and AstroPix 4 without.
    references
        Files of readouts to compare runs with.
    announce
        Is told the page's URL once it can be opened.

    Raises
    ------
    ConfigError, OSError
        What is wrong with the source, the address to listen on or the directory.
    """
    compared = read_references(references, kind)
    site = None if listen is None else server.Site.parse(listen, origins)
    ways = [parse_url(url) if isinstance(url, str) else url for url in urls]
    # Two histories that come beside each other are more than what merges them can put in order.
    source = _with_start(ways[0], start) if len(ways) == 1 else ways
    # The page follows the kind that the relay says; so the receiver is to take any.
    readout_class: type[Any] = AstroPix4Readout if kind is None else kind.readout_class
    receiver = open_receiver(readout_class, source, any_kind=True)
    with ExitStack() as stack:
        feed = stack.enter_context(Feed(receiver, " and ".join(map(str, ways)), kind, compared))
        if snapshots is not None:
            stack.enter_context(Snapshots(feed, snapshots, every_s))
        server.serve(feed, site, announce)
    return feed.view(Choice())


def _with_start(url: SourceUrl, start: StartOption) -> SourceUrl:
    """Let a relay or a log begin there; of the others there is nothing to choose."""
    return url if url.scheme in ("udp", "file") else replace(url, options={"start": start, **url.options})
