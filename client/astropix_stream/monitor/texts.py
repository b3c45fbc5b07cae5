"""What the page says in words. Pure."""

from collections.abc import Iterable

from astropix_stream import numbers
from astropix_stream.counting.places import Place
from astropix_stream.counting.state import State
from astropix_stream.monitor.runs import Account


def place(where: Place, *, relayed: bool) -> str:
    """Return a place of losses, as seen from the page."""
    return "before the relay's socket" if relayed and where is Place.BEFORE_SOCKET else str(where)


def losses(account: Account, *, relayed: bool, at_most: bool, hops: Iterable[str] = ()) -> str:
    """Return '14 missed: 12 before the relay's socket, 2 in this program'; `hops` are those with losses."""
    limit = "at most " * at_most
    between = " or ".join(hops)
    parts = [
        f"{limit * where.is_kernel}{numbers.grouped(number)} "
        + ((where is Place.BETWEEN_RELAYS and between) or place(where, relayed=relayed))
        for where, number in account.lost_at.items()
    ]
    return f"{numbers.grouped(account.lost)} missed: {', '.join(parts)}"


def holds(
    account: Account,
    *,
    since: str,
    sources: int,
    relayed: bool,
    at_most: bool,
    hops: Iterable[str] = (),
    thinned: int = 0,
) -> str:
    """Return the sentence that says what the page holds of the readouts there were."""
    of = "the run's readouts" if sources < 2 else f"the readouts of {sources} DAQs"
    doubled = (
        f"; {numbers.counted(account.duplicates, 'duplicate', group=True)} left out"
        if account.duplicates
        else ""
    )
    if thinned:
        doubled += f"; {numbers.grouped(thinned)} in all were thinned out on the way, to save bandwidth"
    if not account.held and not account.lost:
        return f"No readout {since} yet{doubled}." if since else f"No readout yet{doubled}."
    if not account.lost:
        return f"This page holds all {of} {since}{doubled}."
    part = numbers.percentage(account.live_fraction)
    lost = losses(account, relayed=relayed, at_most=at_most, hops=hops)
    return f"This page holds {part} of {of} {since}; {lost}{doubled}."


FILE_ENDED = "the file was read to its end"


def state(word: State, *, age_s: float | None, lag_s: float, trouble: str) -> str:
    """Return what stands beside the word of the state."""
    last = "no readout yet" if age_s is None else f"last readout {numbers.age(age_s)} ago"
    match word:
        case State.NO_NETWORK | State.NO_LOG:
            return f"{trouble}; {last}"
        case State.UPSTREAM_LOST:
            return f"the relay hears none of the relays above it; {last}"
        case State.LOSING:
            return f"readouts were lost in the last 10 s; {last}"
        case State.LAGGING:
            return f"readouts come {numbers.age(lag_s)} late; {last}"
        case State.QUIET:
            return f"connected, the DAQ sends nothing; {last}"
        case State.LIVE:
            return last
