"""What `apx monitor` runs: a receiver, its feed, the page, and snapshots."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from astropix_analysis.errors import ConfigError
from astropix_analysis.fmt import AstroPix4Readout
from astropix_analysis.monitor import server
from astropix_analysis.monitor.feed import Feed
from astropix_analysis.monitor.snapshot import Snapshots
from astropix_analysis.source import open_receiver, parse_url


def run(
    urls: Sequence[str],
    *,
    listen: str | None = server.DEFAULT_LISTEN,
    origins: Sequence[str] = (),
    snapshots: Path | None = None,
    every_s: float = 60.0,
) -> None:
    """Show what comes from some source until Ctrl-C.

    Parameters
    ----------
    urls
        Of the stream.
    listen, origins
        Where the page is, and under which other addresses browsers may show it; None: no page.
    snapshots, every_s
        Where to write pictures and numbers, and how often; None: nowhere.

    Raises
    ------
    ConfigError, OSError
        What is wrong with the source, the address to listen on or the directory.
    """
    if len(urls) != 1:
        raise ConfigError("a page shows one stream: give one URL")
    site = None if listen is None else server.Site.parse(listen, origins)
    source = parse_url(urls[0])
    with ExitStack() as stack:
        feed = stack.enter_context(Feed(open_receiver(AstroPix4Readout, source), str(source)))
        if snapshots is not None:
            stack.enter_context(Snapshots(feed, snapshots, every_s))
        server.serve(feed, site)
