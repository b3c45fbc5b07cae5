"""Accept or reject the datagrams of one drain, in the order of the kernel's queue, and group them by source.

Pure. The relay's core and `MulticastReceiver` take in datagrams in the same way, so that both count alike.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from astropix_analysis import fmt
from astropix_analysis.clock import Moment
from astropix_analysis.datagrams import SLOT_SIZE, Drained
from astropix_analysis.ledger import RunStart, Source, StreamLedger

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
    sizes: list[int] = field(default_factory=list)
    readout_ids: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    runs: list[RunStart] = field(default_factory=list)
    told: int = 0
    """How many of them the ledger knows of."""


class Intake:
    """Takes in what a socket's reader drained, and tells the ledger, event by event.

    Parameters
    ----------
    ledger
        Where readouts, rejections and kernel drops are counted.
    """

    def __init__(self, ledger: StreamLedger) -> None:
        self._ledger = ledger
        self._drops: int | None = None  # the kernel's count, which may have begun long before us

    def take(self, drained: Drained, now: Moment) -> list[Group]:
        """Count what was drained; return the valid datagrams by source, each in order of arrival."""
        groups = self.sort(drained, now)
        self.tell(groups, now)
        return groups

    def sort(self, drained: Drained, now: Moment) -> list[Group]:
        """Do what `take` does, but what can be counted later without a difference leave to `tell`."""
        if not drained.datagrams:
            return []
        group = self._take_quiet(drained)
        return self._take_each(drained, now) if group is None else [group]

    def _take_quiet(self, drained: Drained) -> Group | None:
        """Take valid datagrams of one source, without a new drop, by columns; None if it is anything else.

        That is nearly every drain, and takes 90 ns a datagram where one by one it takes 350.
        """
        sources, drops, header_size = drained.sources, drained.drops or (0,), fmt.HEADER_SIZE
        if not drained.heads or drops.count(self._drops) != len(drops):
            return None
        magics, readout_ids, timestamps, lengths, sizes = drained.heads
        if sources.count(sources[0]) != len(sizes) or magics.count(fmt.MAGIC) != len(sizes):
            return None
        if [header_size + length for length in lengths] != sizes:
            return None
        return Group(sources[0], drained.datagrams, sizes, list(readout_ids), list(timestamps))

    def _take_each(self, drained: Drained, now: Moment) -> list[Group]:
        """Take one datagram after the other, in the order of the kernel's queue."""
        datagrams, sources = drained.datagrams, drained.sources
        drops = drained.drops or (0,) * len(datagrams)
        if self._drops is None:
            self._drops = drops[0]
        unpack, header_size, magic = fmt.HEADER.unpack_from, fmt.HEADER_SIZE, fmt.MAGIC
        groups: dict[Source, Group] = {}
        group = groups[sources[0]] = Group(sources[0])
        for datagram, source, dropped in zip(datagrams, sources, drops, strict=True):
            if dropped != self._drops:
                self.tell(groups.values(), now)
                self._note_drops(dropped)
            size = len(datagram)
            if size >= header_size:
                found, readout_id, timestamp, length = unpack(datagram)
                if found == magic and length == size - header_size:
                    if source is not group.source:
                        group = groups.get(source) or Group(source)
                        groups[source] = group
                    group.datagrams.append(datagram)
                    group.sizes.append(size)
                    group.readout_ids.append(readout_id)
                    group.timestamps.append(timestamp)
                    continue
            self.tell(groups.values(), now)
            self._ledger.note_rejected(source, _reason(datagram))
        self.tell(groups.values(), now)
        return [group for group in groups.values() if group.datagrams]

    def tell(self, groups: Iterable[Group], now: Moment) -> None:
        """Tell the ledger of the readouts since the last rejection or drop, once for each source.

        Between these the order among sources changes no count, and the ledger takes a batch 20 times as
        fast as readout by readout.
        """
        for group in groups:
            told, group.told = group.told, len(group.datagrams)
            if told < group.told:
                ids, timestamps = group.readout_ids, group.timestamps
                if told:
                    ids, timestamps = ids[told:], timestamps[told:]
                for start in self._ledger.received(group.source, ids, timestamps, now):
                    group.runs.append(start._replace(position=told + start.position))

    def _note_drops(self, total: int) -> None:
        """Note the kernel's running drop count (u32, wraps) that came with a datagram."""
        more = (total - (self._drops or 0)) & 0xFFFFFFFF
        if more < 1 << 31:  # a larger step is an older count, read out of order
            self._drops = total
            self._ledger.note_dropped(more)


def _reason(datagram: Buffer) -> str:
    if len(datagram) < fmt.HEADER_SIZE:
        return SHORT
    if len(datagram) >= SLOT_SIZE:
        return TRUNCATED
    return MAGIC if bytes(datagram[:3]) != fmt.MAGIC else LENGTH
