"""What `apx monitor` runs: a receiver, its feed, the page, and snapshots."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from astropix_stream import heap
from astropix_stream.fmt import AstroPix4Readout, Kind
from astropix_stream.monitor import server
from astropix_stream.monitor.accumulate import Memory
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.desk import Desk
from astropix_stream.monitor.feed import Feed
from astropix_stream.monitor.reference import read_references
from astropix_stream.monitor.saving import Saver, StateFile
from astropix_stream.monitor.snapshot import Snapshots
from astropix_stream.monitor.view import View
from astropix_stream.monitor.watching import read_settings
from astropix_stream.opening import open_receiver
from astropix_stream.url import SourceUrl, parse_url

StartOption: TypeAlias = str | int
_BEFORE_S = 2  # a log is read from a little before the latest readout; what is known is left out


def run(
    urls: Sequence[str | SourceUrl],
    *,
    listen: str | None = server.DEFAULT_LISTEN,
    origins: Sequence[str] = (),
    snapshots: Path | None = None,
    every_s: float = 60.0,
    start: StartOption | None = None,
    kind: Kind | None = None,
    references: Sequence[Path] = (),
    config: Path | None = None,
    state: StateFile | None = None,
    announce: Callable[[str], None] = print,
) -> View:
    """Show what comes from some source until Ctrl-C; return the last view of it.

    Parameters
    ----------
    urls
        Of the stream; several are paths to the same one.
    listen, origins
        Where the page is, and under which other addresses browsers may show it; None: no page.
    snapshots, every_s
        Where to write pictures and numbers, and how often; None: nowhere.
    start
        With what to begin, of a relay that has history or of a log: see `relay.RelayReceiver`. None: where
        the monitor before this one ended, or with the oldest.
    kind
        What the readouts are; None takes the relay's word for it, and AstroPix 4 without.
    references
        Files of readouts to compare runs with.
    config
        File with alarms, see `settings`; None: no alarms.
    state
        In which the runs outlive the program; it is closed at the end. None: nowhere.
    announce
        Is told the page's URL once it can be opened.

    Raises
    ------
    ConfigError, OSError
        What is wrong with the source, the address to listen on, the directory or the configuration.
    """
    heap.keep_little()
    compared = read_references(references, kind)
    site = None if listen is None else server.Site.parse(listen, origins)
    settings = None if config is None else read_settings(config)
    ways = [parse_url(url) if isinstance(url, str) else url for url in urls]
    with ExitStack() as stack:
        found = None if state is None else stack.enter_context(state).read(kind)
        memory = None if found is None else found.memory
        # Two histories that come beside each other are more than what merges them can put in order.
        source = _with_start(ways[0], start, memory) if len(ways) == 1 else ways
        # The page follows the kind that the relay says; so the receiver is to take any.
        readout_class: type[Any] = AstroPix4Readout if kind is None else kind.readout_class
        receiver = open_receiver(readout_class, source, any_kind=True)
        after_feed = stack.enter_context(ExitStack())  # its last turn is to be saved, too
        feed = stack.enter_context(Feed(receiver, " and ".join(map(str, ways)), kind, memory, compared))
        desk = Desk(feed, config, settings)
        if found is not None:
            desk.restore(found.more)
        if state is not None:
            after_feed.enter_context(Saver(feed, state, desk.saved))
        stack.enter_context(desk)
        if snapshots is not None:
            stack.enter_context(Snapshots(feed, snapshots, every_s, desk.notes_to_json))
        server.serve(desk, site, announce)
    return feed.view(Choice())


def _with_start(url: SourceUrl, start: StartOption | None, memory: Memory | None) -> SourceUrl:
    """Let a relay or a log begin there: where the monitor before this one ended, unless a person says so.

    Of other sources there is nothing to choose.
    """
    if url.scheme in ("udp", "file"):
        return url
    begin: Any = "oldest" if start is None else start
    if start is None and memory is not None:
        if url.scheme == "tcp" and memory.position is not None:
            begin = memory.position
        elif url.scheme != "tcp" and memory.received_ns:
            since_s = memory.received_ns // 10**9 - _BEFORE_S
            begin = datetime.fromtimestamp(since_s, tz=UTC)
    return replace(url, options={"start": begin, **url.options})
