"""What the page says in words. Pure."""

from datetime import datetime

from astropix_stream.counting.places import Place
from astropix_stream.counting.state import State
from astropix_stream.monitor.accumulate import Account

_THIN = "\u202f"  # narrow space that does not break, between thousands
_KERNELS = (Place.RELAY_KERNEL, Place.CLIENT_KERNEL)


def count(number: int) -> str:
    """Return '12 345', with narrow spaces."""
    return f"{number:,}".replace(",", _THIN)


def counted(number: int, thing: str) -> str:
    """Return '1 readout', '12 345 readouts'."""
    return f"{count(number)} {thing}{'s' * (number != 1)}"


def rate(per_second: float) -> str:
    """Return a rate with about three digits: '0.4', '12.9', '20 013'."""
    return f"{per_second:.1f}" if per_second < 99.95 else count(round(per_second))


def percentage(fraction: float) -> str:
    """Return '99.98 %'; 100 % only of what is whole."""
    if fraction >= 1.0:
        return f"100{_THIN}%"
    return f"{int(fraction * 1e4) / 100:.2f}{_THIN}%"


def age(seconds: float) -> str:
    """Return '0.3 s', '12 s', '3 min', '2 h 5 min', '4 d'."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d"


def clock(epoch_ns: int, now_ns: int) -> str:
    """Return a time of day in the local time zone; with the date if that is not today's."""
    then, now = (datetime.fromtimestamp(ns / 1e9).astimezone() for ns in (epoch_ns, now_ns))
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%Y-%m-%d %H:%M:%S")


def zone(epoch_ns: int) -> str:
    """Return the local time zone."""
    return datetime.fromtimestamp(epoch_ns / 1e9).astimezone().strftime("%Z, UTC%z")


def iso(epoch_ns: int) -> str:
    """Return a time as ISO 8601, with the zone."""
    return datetime.fromtimestamp(epoch_ns / 1e9).astimezone().isoformat(timespec="milliseconds")


def place(where: Place, *, relayed: bool) -> str:
    """Return a place of losses, as seen from the page."""
    return "before the relay's socket" if relayed and where is Place.BEFORE_SOCKET else str(where)


def losses(account: Account, *, relayed: bool, at_most: bool) -> str:
    """Return '14 missed: 12 before the relay's socket, 2 in this program'."""
    limit = "at most " * at_most
    parts = [
        f"{limit * (where in _KERNELS)}{count(number)} {place(where, relayed=relayed)}"
        for where, number in account.lost_at.items()
    ]
    return f"{count(account.lost)} missed: {', '.join(parts)}"


def holds(account: Account, *, since: str, sources: int, relayed: bool, at_most: bool) -> str:
    """Return the sentence that says what the page holds of the readouts there were."""
    of = "the run's readouts" if sources < 2 else f"the readouts of {sources} DAQs"
    doubled = f"; {count(account.duplicates)} came twice" if account.duplicates else ""
    if not account.held and not account.lost:
        return f"No readout {since} yet."
    if not account.lost:
        return f"This page holds all {of} {since}{doubled}."
    part = percentage(account.live_fraction)
    lost = losses(account, relayed=relayed, at_most=at_most)
    return f"This page holds {part} of {of} {since}; {lost}{doubled}."


def state(word: State, *, age_s: float | None, lag_s: float, trouble: str) -> str:
    """Return what stands beside the word of the state."""
    last = "no readout yet" if age_s is None else f"last readout {age(age_s)} ago"
    match word:
        case State.NO_NETWORK:
            return f"{trouble}; {last}"
        case State.LOSING:
            return f"readouts were lost in the last 10 s; {last}"
        case State.LAGGING:
            return f"readouts come {age(lag_s)} late; {last}"
        case State.QUIET:
            return f"connected, the DAQ sends nothing; {last}"
        case State.LIVE:
            return last
