"""Settings of the kernel that make it drop datagrams in silence. Pure."""

from dataclasses import dataclass

from astropix_stream.doctor.verdict import Fault, Mark, Verdict, fine, unknown

# For which the command is: the mildest that lets the source in.
ANOTHER_WAY_BACK = "if another route leads back to the source"
NO_WAY_BACK = "if none does"
SOURCE_UNKNOWN = "if the source is not known"

RP_FILTER = Fault(
    "rp-filter",
    "the reverse-path filter of {interface} drops what {source} sends: {reason}",
    "With net.ipv4.conf.*.rp_filter at 1 (strict) the kernel drops every datagram whose source it would not "
    "answer through the interface that it came in by; at 2 (loose), one whose source it could not answer at "
    "all. A DAQ in another subnet than the monitor's is such a source. The larger of `all` and the "
    "interface's own value counts.",
    "let the kernel accept it",
    {
        ANOTHER_WAY_BACK: "sudo sysctl -w net.ipv4.conf.{interface}.rp_filter=2",
        NO_WAY_BACK: "sudo ip route add {source} dev {interface}",
        SOURCE_UNKNOWN: "sudo sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{interface}.rp_filter=0",
    },
    blocks=True,
)
RECEIVE_BUFFER_FULL = Fault(
    "receive-buffer-full",
    "the kernel dropped {dropped} datagrams: its receive buffer of {granted} KiB was full",
    "Datagrams wait in a socket's receive buffer until the program takes them; where it is full, further "
    "ones are dropped. `receiver.ledger` counts these as lost 'in this host's kernel'.",
    "allow larger receive buffers, then start the program again",
    "sudo sysctl -w net.core.rmem_max={size}",
)
RECEIVE_BUFFER_SMALL = Fault(
    "receive-buffer-small",
    "the kernel grants a receive buffer of {granted} KiB; {asked} KiB were requested",
    "net.core.rmem_max limits what a program may have. A burst that does not fit is lost.",
    "allow larger receive buffers, then start the program again",
    "sudo sysctl -w net.core.rmem_max={size}",
)

FAULTS = (RP_FILTER, RECEIVE_BUFFER_FULL, RECEIVE_BUFFER_SMALL)

STRICT, LOOSE = 1, 2


@dataclass(frozen=True, slots=True)
class ReversePath:
    """What the reverse-path filter of an interface does.

    Attributes
    ----------
    mode
        The value that counts; None where there is no such setting.
    dropped
        Packets that the filter dropped on this host while we listened; None where it is not told.
    back
        For each source that is known and not heard: the interface by which the kernel would answer it; None
        if by none.
    """

    mode: int | None
    dropped: int | None
    back: dict[str, str | None]


def effective_mode(values: list[str | None]) -> int | None:
    """Return the rp_filter value that counts: the larger of `all` and the interface's."""
    numbers = [int(value) for value in values if value is not None and value.strip().isdigit()]
    return max(numbers, default=None)


def parse_netstat(text: str, counter: str) -> int | None:
    """Find a counter in /proc/net/netstat: a line of names, then one of values."""
    lines = [line.split() for line in text.splitlines()]
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        if counter in names:
            return int(values[names.index(counter)])
    return None


def judge_reverse_path(filtered: ReversePath, interface: str, *, hears: bool) -> Verdict | None:
    """Judge whether the filter drops readouts; `hears` says that some arrive all the same."""
    mode = filtered.mode
    if mode is None:
        return None
    if mode not in (STRICT, LOOSE):
        return fine("reverse path", f"{interface} accepts datagrams from any subnet (rp_filter {mode})")
    kind = "strict" if mode == STRICT else "loose"
    for source, back in filtered.back.items():
        refused = _reason(mode, back, interface)
        if refused:
            return RP_FILTER.found(
                "reverse path",
                case=NO_WAY_BACK if back is None else ANOTHER_WAY_BACK,
                interface=interface,
                source=source,
                reason=refused,
            )
    if filtered.dropped and not hears:
        return RP_FILTER.found(
            "reverse path",
            case=SOURCE_UNKNOWN,
            interface=interface,
            source="somebody in another subnet",
            reason=f"it is {kind}, and dropped {filtered.dropped} packets meanwhile",
        )
    if filtered.dropped is None and not hears:
        return unknown("reverse path", f"{kind}; this system does not tell what it dropped")
    return fine("reverse path", f"{kind} (rp_filter {mode}), and drops no readouts")


def _reason(mode: int, back: str | None, interface: str) -> str:
    if back is None:
        return "there is no route back"
    if mode == STRICT and back != interface:
        return f"it is strict, and the route back takes {back}"
    return ""


def judge_buffer(asked: int, granted: int, dropped: int) -> Verdict:
    """Judge the receive buffer: what it is, and whether it was too small while we listened."""
    if dropped:
        return RECEIVE_BUFFER_FULL.found(
            "receive buffer", dropped=dropped, granted=granted >> 10, size=max(asked, 2 * granted)
        )
    if granted < asked:
        return RECEIVE_BUFFER_SMALL.found(
            "receive buffer", mark=Mark.UNKNOWN, granted=granted >> 10, asked=asked >> 10, size=asked
        )
    return fine("receive buffer", f"{granted >> 10} KiB, as requested")
