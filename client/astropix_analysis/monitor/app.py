"""What `apx monitor` runs: a receiver, its feed, the page, and snapshots."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

from astropix_analysis.errors import ConfigError
from astropix_analysis.fmt import AstroPix4Readout
from astropix_analysis.monitor import server
from astropix_analysis.monitor.choice import Choice
from astropix_analysis.monitor.feed import Feed
from astropix_analysis.monitor.snapshot import Snapshots
from astropix_analysis.monitor.view import View
from astropix_analysis.source import open_receiver, parse_url

Start: TypeAlias = str | int


def run(
    urls: Sequence[str],
    *,
    listen: str | None = server.DEFAULT_LISTEN,
    origins: Sequence[str] = (),
    snapshots: Path | None = None,
    every_s: float = 60.0,
    start: Start = "oldest",
    announce: Callable[[str], None] = print,
) -> View:
    """Show what comes from some source until Ctrl-C; return the last view of it.

    Parameters
    ----------
    urls
        Of the stream.
    listen, origins
        Where the page is, and under which other addresses browsers may show it; None: no page.
    snapshots, every_s
        Where to write pictures and numbers, and how often; None: nowhere.
    start
        With what to begin, of a relay that has history: see `relay.RelayReceiver`.
    announce
        Is told the page's URL once it can be opened.

    Raises
    ------
    ConfigError, OSError
        What is wrong with the source, the address to listen on or the directory.
    """
    if len(urls) != 1:
        raise ConfigError("a page shows one stream: give one URL")
    site = None if listen is None else server.Site.parse(listen, origins)
    source = parse_url(urls[0])
    options: dict[str, Any] = {"start": start} if source.scheme == "tcp" else {}
    with ExitStack() as stack:
        feed = stack.enter_context(Feed(open_receiver(AstroPix4Readout, source, **options), str(source)))
        if snapshots is not None:
            stack.enter_context(Snapshots(feed, snapshots, every_s))
        server.serve(feed, site, announce)
    return feed.view(Choice())
