"""Why a source is not there, in a line for every command: as the doctor finds it, within a second or two."""

import shlex
from collections.abc import Iterable

from astropix_stream import names, wire
from astropix_stream.cli.terminal import ending
from astropix_stream.errors import ConfigError, WireError
from astropix_stream.url import SourceUrl

STEP_S = 0.7  # for each step; where all is well they take milliseconds


def doctor(url: SourceUrl) -> str:
    """Return the command that finds out more."""
    return f"apx doctor {shlex.quote(str(url))}"


def complaint(url: SourceUrl) -> str:
    """Return what is wrong with a relay or a log, and what would tell more; empty if nothing is, or unknown.

    The name service, and each step of the way, has a bounded time.

    Raises
    ------
    ConfigError
        The stream's name cannot be one, or a key cannot be read.
    """
    if "stream" in url.options:
        try:
            wire.check_stream_name(url.options["stream"])
        except WireError as error:
            raise ConfigError(str(error)) from None
    cause = _cause(url)
    if not cause:
        return ""
    where = "" if url.endpoint in cause else f"{url}: "
    return f"{where}{cause}; try `{doctor(url)}`"


def tell_dead(urls: Iterable[SourceUrl]) -> None:
    """Say of each source that is not there why, for a command that waits for it all the same."""
    for url in urls:
        if told := complaint(url):
            ending.log.warning("%s; still trying", told)


def _cause(url: SourceUrl) -> str:
    if url.scheme not in ("tcp", "nats"):
        return ""
    if _unknown(url.host):
        return f"no address is known for the name {url.host!r}"
    if url.scheme == "nats":
        from astropix_stream.doctor import log, log_probe  # noqa: PLC0415  (only where something is wrong)

        verdicts = log.judge(log_probe.ask(url))
    else:
        from astropix_stream.doctor import probe, relay  # noqa: PLC0415  (multicast needs no ZeroMQ)

        verdicts = relay.judge_way(probe.ask(url, STEP_S))
    return next((verdict.text for verdict in verdicts if verdict.is_wrong), "")


def _unknown(host: str) -> bool:
    lookup = names.Lookup(host)
    try:
        return lookup.wait(STEP_S) is None
    finally:
        lookup.close()
