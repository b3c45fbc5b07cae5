"""Accept or reject the datagrams of one drain, in the order of the kernel's queue, and group them by source.

Pure. The relay's core and `MulticastReceiver` take in datagrams in the same way, so that both count alike.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate, groupby, pairwise
from operator import itemgetter
from typing import NamedTuple

from astropix_stream import fmt, headers
from astropix_stream.batch import SLOT_SIZE, Batch, Drained, One, RunStart, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.stream import StreamLedger

_TOGETHER = 32  # drains of a few readouts that are told of at once

_Few = tuple[bytes, int, Source, float, int]
"""A payload, how many readouts it is, from where, and the two clocks of a `Moment`, which would cost more."""


class Rejection(StrEnum):
    """Why a datagram is not a readout."""

    SHORT = "short"
    """Fewer bytes than a readout's header."""
    MAGIC = "magic"
    """It does not begin as a readout does."""
    LENGTH = "length"
    """The header's length is not that of what follows."""
    TRUNCATED = "truncated"
    """Larger than the receive buffer."""


@dataclass(slots=True)
class _Growing:
    """A batch that is put together datagram by datagram."""

    source: Source
    datagrams: list[bytes] = field(default_factory=list)
    readout_ids: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    runs: list[RunStart] = field(default_factory=list)
    duplicates: bytearray = field(default_factory=bytearray)
    told: int = 0
    """How many of them the ledger knows of."""

    def tell(self, ledger: StreamLedger, now: Moment) -> None:
        """Tell the ledger of what it does not know yet."""
        told, self.told = self.told, len(self.datagrams)
        if told == self.told:
            return
        more = self._part(told, now.ns)
        ledger.note(more, now)
        self.runs += [start._replace(position=told + start.position) for start in more.runs]
        if more.duplicates:
            self.duplicates += bytes(told - len(self.duplicates)) + more.duplicates

    def batch(self, received_ns: int) -> Batch:
        batch = self._part(0, received_ns)
        batch.runs = self.runs
        if self.duplicates:
            batch.duplicates = bytes(self.duplicates.ljust(len(batch), b"\0"))
        return batch

    def _part(self, begin: int, received_ns: int) -> Batch:
        datagrams = self.datagrams[begin:]
        ids, timestamps = self.readout_ids[begin:], self.timestamps[begin:]
        return Batch(
            self.source, received_ns, b"".join(datagrams), ids, timestamps, [*accumulate(map(len, datagrams))]
        )


class Told(NamedTuple):
    """What a stream's state follows: from where, how new the last readout was, and when it was drained."""

    source: Source
    timestamp: int
    now: Moment


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
        self._untold: list[tuple[Batch, Moment]] = []
        self._few: list[_Few] = []  # untold, too, and later than these
        self._told: list[Told] = []

    def take(self, drained: Drained, now: Moment) -> list[Batch]:
        """Count what was drained; return the valid ones by source, each in order of arrival."""
        batches = self.sort(drained, now)
        self.tell()
        return batches

    def sort(self, drained: Drained, now: Moment) -> list[Batch]:
        """Do what `take` does, but what can be counted later without a difference leave to `tell`.

        That is nearly every drain: valid readouts of one source, and no new drop.
        """
        payload, sizes, sources, drops, _, even, _ = drained
        batch = None
        self._tell_few()
        is_quiet = self._is_quiet(drops)
        if is_quiet and not even:
            batch = _by_columns(drained, now.ns)
        elif is_quiet and (ids := headers.parse_equal_ids(payload, len(sizes))) is not None:
            timestamps = headers.EqualTimestamps(payload, len(sizes))
            ends = range(sizes[0], len(payload) + 1, sizes[0])
            batch = Batch(sources[0], now.ns, payload, ids, timestamps, ends)
        if batch is None:
            self._tell_untold()
            return self._take_each(drained, now)
        self._untold.append((batch, now))
        return [batch]

    def take_one(self, one: One, s: float, ns: int) -> tuple[int, int] | None:
        """Take in a readout that came alone, if no drop is new; to count it is left to `tell`.

        With cold caches, to count a readout costs more than to receive it; and this is on the way of each, at
        the rates that people have, so that it calls nothing.

        Parameters
        ----------
        one
            As a reader's `read_one` gives it.
        s, ns
            Both clocks at this moment.

        Returns
        -------
        readout_id, timestamp
            None where it is no readout, or a drop is new: then nothing is done, and `sort` is for it.
        """
        datagram, source, drops = one
        size = len(datagram)
        if size < fmt.HEADER_SIZE or not (self._is_quiet(drops) if drops else self._drops == 0):
            return None
        magic, readout_id, timestamp, length = fmt.HEADER.unpack_from(datagram)
        if magic != fmt.MAGIC or length != size - fmt.HEADER_SIZE:
            return None
        if self._untold:
            self._tell_untold()
        self._few.append((datagram, 1, source, s, ns))
        return readout_id, timestamp

    def take_few(self, drained: Drained, s: float, ns: int) -> bool:
        """Do what `take_one` does, for a few readouts at once; return whether all of them were readouts."""
        payload, sizes, sources, drops, _, even, _ = drained
        if not self._is_quiet(drops):
            return False
        if even:
            more = [(payload, len(sizes), sources[0], s, ns)]
            valid = headers.parse_equal_ids(payload, len(sizes)) is not None
        else:
            more = [(one, 1, source, s, ns) for one, source in zip(drained.datagrams(), sources, strict=True)]
            valid = all(headers.is_readout(datagram) for datagram, *_ in more)
        if valid:
            if self._untold:
                self._tell_untold()
            self._few += more
        return valid

    def _is_quiet(self, drops: Sequence[int]) -> bool:
        """Return whether the kernel dropped nothing since the datagram before."""
        return drops.count(self._drops) == len(drops) if drops else self._drops == 0

    def replace_socket(self, dropped: int) -> None:
        """Go on with another socket, whose drop count begins at 0; tell what the old one dropped last.

        Parameters
        ----------
        dropped
            The kernel's count on the old socket when it was closed. What of it no datagram has told is told
            now, before all that comes from the new socket.
        """
        self._tell_all()
        if self._drops is not None:
            self._note_drops(dropped)
        self._drops = 0

    @property
    def owes(self) -> bool:
        """Whether `tell` has anything to tell."""
        return bool(self._few or self._untold or self._told)

    def tell(self) -> list[Told]:
        """Tell the ledger of all that it does not know yet; return what came since the last call."""
        self._tell_all()
        told, self._told = self._told, []
        return told

    def _tell_all(self) -> None:
        self._tell_untold()
        self._tell_few()

    def _tell_few(self) -> None:
        """Tell the ledger of what came a few at a time, as of one drain where it goes on."""
        few, self._few = self._few, []
        for source, of_source in groupby(few, itemgetter(2)):
            drains = [*of_source]
            for at in range(0, len(drains), _TOGETHER):
                self._tell_together(source, drains[at : at + _TOGETHER])

    def _tell_together(self, source: Source, drains: Sequence[_Few]) -> None:
        now = Moment(*drains[-1][3:])
        payload, count = b"".join([drain[0] for drain in drains]), sum([drain[1] for drain in drains])
        batch = Batch(source, now.ns, payload, *headers.columns_of(payload, count))
        timestamp = batch.timestamps[-1]
        if not self._ledger.goes_on((batch,), batch.readout_ids, timestamp, now):
            for payload, count, _, s, ns in drains:
                batch = Batch(source, ns, payload, *headers.columns_of(payload, count))
                self._ledger.note(batch, Moment(s, ns))
        self._told.append(Told(source, timestamp, now))

    def _tell_untold(self) -> None:
        """Tell the ledger of quiet drains: as one, as long as each goes on where the one before ended."""
        untold, self._untold = self._untold, []
        if len(untold) == 1:
            ((batch, _),) = untold
            self._tell_chain([batch], batch.readout_ids, untold)
            return
        while untold:
            length = _chain_length(untold)
            chain = untold[:length]
            batches = [batch for batch, _ in chain]
            ids = batches[0].readout_ids
            if length > 1:
                ids = range(ids[0], batches[-1].readout_ids[-1] + 1)
            self._tell_chain(batches, ids, chain)
            untold = untold[length:]

    def _tell_chain(
        self, batches: Sequence[Batch], ids: Sequence[int], chain: Sequence[tuple[Batch, Moment]]
    ) -> None:
        last, now = chain[-1]
        timestamp = last.timestamps[-1]
        if not self._ledger.goes_on(batches, ids, timestamp, now):
            for batch, then in chain:
                self._ledger.note(batch, then)
        self._told.append(Told(last.source, timestamp, now))

    def _take_each(self, drained: Drained, now: Moment) -> list[Batch]:
        """Take one datagram after the other, in the order of the kernel's queue."""
        drops = drained.drops or (0,) * len(drained.sizes)
        if self._drops is None:
            self._drops = drops[0] if drops else None
        unpack, header_size, magic = fmt.HEADER.unpack_from, fmt.HEADER_SIZE, fmt.MAGIC
        growing: dict[Source, _Growing] = {}
        group: _Growing | None = None
        for datagram, source, dropped in zip(drained.datagrams(), drained.sources, drops, strict=True):
            if dropped != self._drops:
                self._tell_each(growing.values(), now)
                self._note_drops(dropped)
            size = len(datagram)
            if size >= header_size:
                found, readout_id, timestamp, length = unpack(datagram)
                if found == magic and length == size - header_size:
                    if group is None or source is not group.source:
                        group = growing.setdefault(source, _Growing(source))
                    group.datagrams.append(datagram)
                    group.readout_ids.append(readout_id)
                    group.timestamps.append(timestamp)
                    continue
            self._tell_each(growing.values(), now)
            self._ledger.note_rejected(source, _reason(datagram))
        self._tell_each(growing.values(), now)
        self._told += [Told(source, group.timestamps[-1], now) for source, group in growing.items()]
        return [group.batch(now.ns) for group in growing.values()]

    def _tell_each(self, groups: Iterable[_Growing], now: Moment) -> None:
        """Tell the ledger of the readouts since the last rejection or drop, once for each source.

        Between these the order among sources changes no count, and the ledger takes a batch 20 times as
        fast as readout by readout.
        """
        for group in groups:
            group.tell(self._ledger, now)

    def _note_drops(self, total: int) -> None:
        """Note the kernel's running drop count (u32, wraps) that came with a datagram."""
        more = (total - (self._drops or 0)) & 0xFFFFFFFF
        if more < 1 << 31:  # a larger step is an older count, read out of order
            self._drops = total
            self._ledger.note_dropped(more)


def _by_columns(drained: Drained, received_ns: int) -> Batch | None:
    """Return valid datagrams of one source, of any sizes; None if it is anything else.

    This takes 40 ns a datagram, where one by one it is 350.
    """
    payload, sizes, sources, _, _, _, heads = drained
    if not heads or sources.count(sources[0]) != len(sources):
        return None
    magics, ids, timestamps, lengths = heads
    header_size = fmt.HEADER_SIZE
    if magics.count(fmt.MAGIC) != len(magics) or [header_size + length for length in lengths] != sizes:
        return None
    return Batch(sources[0], received_ns, payload, ids, timestamps, list(accumulate(sizes)))


def _chain_length(untold: Sequence[tuple[Batch, Moment]]) -> int:
    """Return how many batches, from the first on, are of one source and have ids that go on, one by one."""
    for n, ((before, _), (batch, _)) in enumerate(pairwise(untold), 1):
        ids, following = before.readout_ids, batch.readout_ids
        if batch.source != before.source or not isinstance(ids, range) or not isinstance(following, range):
            return n
        if following.start != ids.stop:
            return n
    return len(untold)


def _reason(datagram: bytes) -> Rejection:
    if len(datagram) < fmt.HEADER_SIZE:
        return Rejection.SHORT
    if len(datagram) >= SLOT_SIZE:
        return Rejection.TRUNCATED
    return Rejection.MAGIC if datagram[:3] != fmt.MAGIC else Rejection.LENGTH
