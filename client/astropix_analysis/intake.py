"""Accept or reject the datagrams of one drain, in the order of the kernel's queue, and group them by source.

Pure. The relay's core and `MulticastReceiver` take in datagrams in the same way, so that both count alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from astropix_analysis import fmt
from astropix_analysis.clock import Moment
from astropix_analysis.datagrams import SLOT_SIZE, Drained
from astropix_analysis.ledger import Source, StreamLedger

SHORT = "short"  # fewer bytes than a readout's header
MAGIC = "magic"  # does not begin as a readout does
LENGTH = "length"  # the header's length is not that of what follows
TRUNCATED = "truncated"  # larger than the receive buffer
REASONS = (SHORT, MAGIC, LENGTH, TRUNCATED)

Buffer = memoryview | bytes


@dataclass(slots=True)
class Group:
    """Valid datagrams of one source in one drain, with what their headers say."""

    source: Source
    datagrams: list[Buffer] = field(default_factory=list)
    readout_ids: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)


class Intake:
    """Takes in what a socket's reader drained, and tells the ledger, event by event.

    Parameters
    ----------
    ledger
        Where readouts, rejections and kernel drops are counted.
    """

    def __init__(self, ledger: StreamLedger) -> None:
        self._ledger = ledger
        self._drops = 0

    def take(self, drained: Drained, now: Moment) -> list[Group]:
        """Count what was drained; return the valid datagrams by source, each in order of arrival."""
        groups = self._take_quiet(drained, now)
        if groups is None:
            groups = self._take_each(drained, now)
        return groups

    def _note_drops(self, total: int) -> None:
        """Note the kernel's running drop count (u32, wraps) that came with a datagram."""
        more = (total - self._drops) & 0xFFFFFFFF
        if 0 < more < 1 << 31:  # a larger step is an older count, read out of order
            self._drops = total
            self._ledger.note_dropped(more)

    def _take_quiet(self, drained: Drained, now: Moment) -> list[Group] | None:
        """Take a drain with nothing but valid datagrams and no new drops; None if it is not one.

        Without rejections and drops the order between sources changes no count, so that the ledger is told
        once for each source.
        """
        datagrams, sources, drops = drained.datagrams, drained.sources, drained.drops
        if drops and drops[-1] != self._drops:
            return None
        if not datagrams:
            return []
        if sources.count(sources[0]) == len(sources):
            groups = [_parse(sources[0], datagrams)]
        else:
            groups = [_parse(source, part) for source, part in _by_source(datagrams, sources).items()]
        whole = [group for group in groups if group is not None]
        if len(whole) != len(groups):
            return None
        for group in whole:
            self._ledger.received(group.source, group.readout_ids, group.timestamps, now)
        return whole

    def _take_each(self, drained: Drained, now: Moment) -> list[Group]:
        groups: dict[Source, Group] = {}
        for i, (datagram, source) in enumerate(zip(drained.datagrams, drained.sources, strict=True)):
            if drained.drops:
                self._note_drops(drained.drops[i])
            one = _parse(source, (datagram,))
            if one is None:
                self._ledger.note_rejected(source, _reason(datagram))
                continue
            self._ledger.received(source, one.readout_ids, one.timestamps, now)
            group = groups.setdefault(source, Group(source))
            group.datagrams += one.datagrams
            group.readout_ids += one.readout_ids
            group.timestamps += one.timestamps
        return list(groups.values())


def _by_source(datagrams: Sequence[Buffer], sources: Sequence[Source]) -> dict[Source, list[Buffer]]:
    parts: dict[Source, list[Buffer]] = {}
    for datagram, source in zip(datagrams, sources, strict=True):
        parts.setdefault(source, []).append(datagram)
    return parts


def _parse(source: Source, datagrams: Sequence[Buffer]) -> Group | None:
    """Read the headers of datagrams; None if any of them is not a readout."""
    unpack, header_size, magic = fmt.HEADER.unpack_from, fmt.HEADER_SIZE, fmt.MAGIC
    readout_ids, timestamps = [], []
    for datagram in datagrams:
        size = len(datagram)
        if size < header_size:
            return None
        found, readout_id, timestamp, length = unpack(datagram)
        if found != magic or length != size - header_size:
            return None
        readout_ids.append(readout_id)
        timestamps.append(timestamp)
    return Group(source, list(datagrams), readout_ids, timestamps)


def _reason(datagram: Buffer) -> str:
    if len(datagram) < fmt.HEADER_SIZE:
        return SHORT
    if len(datagram) >= SLOT_SIZE:
        return TRUNCATED
    return MAGIC if bytes(datagram[:3]) != fmt.MAGIC else LENGTH
