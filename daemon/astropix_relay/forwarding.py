"""One stream that other relays have numbered: put their ways together, publish it unchanged, tell the hops.

Pure, as `core`, whose `StreamCore` does the same for a stream that comes from a group.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from astropix_relay.confluence import Confluence, Standing
from astropix_relay.core import MANY, Message, StreamCore
from astropix_relay.history import History
from astropix_stream import headers, wire
from astropix_stream.batch import Batch, Position, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.hops import Hop, is_fed_without, joined_hops, parse_hops
from astropix_stream.counting.places import Place
from astropix_stream.counting.state import State
from astropix_stream.counting.stream import MAX_SOURCES
from astropix_stream.errors import WireError
from astropix_stream.receiving.arbiter import Arbiter

_log = logging.getLogger(__name__)

Brought = tuple[str, int, Batch]
"""Readouts, by which path they came, and the `live_from` of that path."""
# What the first relay on the way says of the DAQ's readouts: it holds at every depth.
_OF_THE_ORIGIN = (
    "received",
    "kernel_dropped",
    "rejected",
    "totals",
    "at_most",
    "sources",
    "stride",
    "remarks",
)


class ForwardingCore(StreamCore):
    """Publishes what relays above have numbered, with their numbers.

    Where the paths lead to two relays that number by themselves, it keeps the first copy of each readout and
    gives numbers of its own; the reports then say ``"numbering": "own"``.

    Parameters
    ----------
    paths
        The names of the ways to the stream.
    thinned
        The only path brings as many readouts as fit into a bandwidth: what comes is numbered here.
    name, relay_id, history, history_port, host, address
        As of `StreamCore`; `relay_id` is our own.
    """

    def __init__(
        self,
        name: str,
        relay_id: int,
        paths: Sequence[str],
        *,
        history: History | None = None,
        history_port: int | None = None,
        host: str = "",
        address: str = "",
        thinned: bool = False,
    ) -> None:
        super().__init__(
            name, relay_id, history=history, history_port=history_port, host=host, address=address
        )
        self.confluence = Confluence()
        self._paths = tuple(paths)
        self._thinned = thinned
        self._arbiter: Arbiter | None = None
        self._standings: Mapping[str, Standing] = {}
        self._above_gaps: dict[str, _GapsAbove] = {}
        self._reports: dict[str, Mapping[str, Any]] = {}  # by path, those whose gaps are noted
        self._filled = False
        if history is not None and not thinned:
            history.filling = True
        self._latest: dict[
            bytes, tuple[int, bytes, bytes, float, int]
        ] = {}  # passed on, by source; see `settle`
        self._settled = False  # whether gaps need no heartbeat to be told apart
        self._thinned_before = self._missed_before = 0  # on ways that are gone
        self._missing = 0
        self._missing_first_ns = self._missing_last_ns = 0

    @property
    def known(self) -> bool:
        """Whether it is known who numbers the stream, and history has what is held above; nothing is before.

        A subscriber that knew of us earlier would ask for what we do not have yet, and count it as lost.
        """
        if self._thinned:
            return any(standing.position is not None for standing in self._standings.values())
        return self._arbiter is not None or self._filled

    @property
    def waits_for(self) -> str:
        """What is still missing, where a relay above is heard, until it is `known`; empty if nothing is."""
        if self.known or self.confluence.at is None:
            return ""
        return f"what was published before number {self.confluence.live_from} is being fetched from there"

    def use_paths(self, paths: Sequence[str]) -> None:
        """Take up other ways to the stream; the numbers go on."""
        for path, standing in self._standings.items():
            if path not in paths:
                self._thinned_before += standing.thinned or 0
                self._missed_before += standing.missed
        self._standings = {path: standing for path, standing in self._standings.items() if path in paths}
        self._paths = tuple(paths)
        self._above_gaps = {path: gaps for path, gaps in self._above_gaps.items() if path in paths}
        if self._arbiter is not None:
            self._arbiter = Arbiter(len(self._paths))

    def forward(
        self, brought: Sequence[Brought], standings: Mapping[str, Standing], now: Moment
    ) -> list[Message]:
        """Take what the paths brought, and how far they have come; return the messages to publish."""
        if len(self._unsettled) >= MANY:
            self.settle()
        self._standings = standings
        if self._thinned:
            messages = self._number([batch for _, _, batch in brought], now)
        elif self._arbiter is not None:
            messages = self._merge(self._arbiter, brought, now)
        else:
            messages = self._go_on(brought, now)
        self._note_missing(now)
        return messages

    @property
    def passes_on(self) -> bool:
        """Whether messages may be given to `pass_on`: what is awaited is just the next one."""
        return self._filled and self._arbiter is None and not self._thinned and not self.confluence.holds

    def pass_on(
        self, found: Sequence[tuple[str, wire.Numbered]], s: float, ns: int
    ) -> tuple[list[Message], list[tuple[str, wire.Numbered]]]:
        """Take messages that came as they are to be published, on the shortest way.

        Parameters
        ----------
        found
            By which path each came.
        s, ns
            The two clocks at this moment.

        Returns
        -------
        messages, left
            What to publish, and what is not just the next one, for `forward`.
        """
        if len(self._unsettled) >= MANY:
            self.settle()
        messages, left = [], []
        for one in found:
            count, relay_id, sequence, header, payload = one[1]
            if (
                relay_id != self.relay_id
                or sequence != self.sequence
                or len(header) != wire.MESSAGE_HEADER.size
            ):
                left.append(one)
                continue
            self.sequence += count
            self._latest[header[wire.SOURCE_BYTES]] = (count, header, payload, s, ns)
            messages.append((self._data_topic, header, payload))
        if messages:
            self.confluence.passed(Position(self.relay_id, self.sequence))
            self._unsettled += messages
        return messages, left

    def settle(self) -> None:
        """Count and remember what was taken since the last call, and how new what was passed on is."""
        if self._latest:
            latest, self._latest = self._latest, {}
            for count, header, payload, s, ns in latest.values():
                _, timestamps, _ = headers.columns_of(payload, count)
                self.tracker.received(wire.parse_message_header(header).source, timestamps[-1], Moment(s, ns))
        super().settle()

    def _go_on(self, brought: Sequence[Brought], now: Moment) -> list[Message]:
        """Publish with the numbers that the readouts have."""
        batches: list[Batch] = []
        for _, live_from, batch in brought:
            batches += self.confluence.take(batch, live_from, now.s)
        batches += self.confluence.stand(self._standings, now.s)
        messages = []
        for batch in batches:
            message = self._republish(batch)
            if message is not None:
                messages.append(message)
        self._unsettled += messages
        self._follow()
        self._note_batches(batches, now)
        if self.confluence.two_origins:
            self._begin_numbering()
        return messages

    def _republish(self, batch: Batch) -> Message | None:
        """Return a batch as it was numbered; what was published before we came is only remembered."""
        position = batch.position
        if position is None:
            return None
        if position.relay_id != self.relay_id:
            self._change_relay(position.relay_id, position.sequence)
        flags = wire.REPLAYED if batch.recovered else 0
        header = wire.pack_header(
            (flags, len(batch), position.relay_id, position.sequence, batch.received_ns, batch.source)
        )
        end = position.sequence + len(batch)
        if end <= self.confluence.live_from:
            if self.history is not None:
                self.settle()
                self.history.append(header, batch.payload)
            return None
        self.sequence = end
        return self._data_topic, header, batch.payload

    def _follow(self) -> None:
        """Take up who gives the numbers, and which is next, also where no readout came."""
        at = self.confluence.at
        if at is None:
            return
        if at.relay_id != self.relay_id:
            self._change_relay(at.relay_id, at.sequence)
        self.sequence = max(at.sequence, self.confluence.live_from)
        if not self._filled and at.sequence >= self.confluence.live_from:
            self._filled = True
            if self.history is not None:
                self.settle()
                self.history.next, self.history.filling = self.sequence, False

    def _change_relay(self, relay_id: int, sequence: int) -> None:
        self.settle()
        self.relay_id, self.sequence = relay_id, sequence
        self._beat_asked = True
        if self.history is not None:
            self.history.begin(relay_id, sequence)

    def _begin_numbering(self) -> None:
        """Give numbers of our own from now on: those of two origins have nothing to do with each other."""
        _log.warning(
            "stream %s: comes from two relays that each number it; it is merged and numbered here",
            self.name,
        )
        self._arbiter = Arbiter(len(self._paths), stride=self.ledger.stride)
        self._change_relay(self.own_id, 0)

    def _merge(self, arbiter: Arbiter, brought: Sequence[Brought], now: Moment) -> list[Message]:
        batches: list[Batch] = []
        for path, _, batch in brought:
            batches += arbiter.take(self._paths.index(path), batch, now)
        batches += arbiter.tick(now)
        return self._number(batches, now)

    def _number(self, batches: Sequence[Batch], now: Moment) -> list[Message]:
        """Give numbers of our own."""
        messages = []
        for batch in batches:
            flags = wire.REPLAYED if batch.recovered else 0
            header = wire.pack_header(
                (flags, len(batch), self.relay_id, self.sequence, batch.received_ns, batch.source)
            )
            self.sequence += len(batch)
            messages.append((self._data_topic, header, batch.payload))
        self._unsettled += messages
        self._note_batches(batches, now)
        return messages

    def _note_batches(self, batches: Sequence[Batch], now: Moment) -> None:
        for batch in batches:
            if not batch.recovered:  # late, but not for a network that lags
                self.tracker.received(batch.source, batch.timestamps[-1], now)
            if self._arbiter is not None:
                self.ledger.received(batch.source, batch.readout_ids, batch.timestamps, now)

    def _heard(self) -> list[Standing]:
        return [standing for standing in self._standings.values() if standing.connected]

    def _above(self) -> Mapping[str, Any]:
        """Return what the relay above says that is heard; or said, if none is."""
        standings = sorted(self._standings.values(), key=lambda standing: not standing.connected)
        return next((s.report for s in standings if s.report is not None), {})

    def state(self, now: Moment) -> State:
        """Return the stream's state; also that no relay above is heard, or that it hears none itself.

        While it is not known who numbers the stream, nothing is published, whatever is heard.
        """
        if not self._heard() or not self.known:
            return State.UPSTREAM_LOST
        told = [standing.report.get("state") for standing in self._heard() if standing.report is not None]
        for cut_off in (State.UPSTREAM_LOST, State.NO_NETWORK):
            if told and all(word == cut_off for word in told):
                return cut_off
        return self.tracker.state(now, connected=True)

    def beat_due_s(self) -> float:
        """Return the time at which the next heartbeat is due."""
        return super().beat_due_s() if self.known else math.inf

    def tick(self, now: Moment) -> Message | None:
        """Return a heartbeat if one is due; none as long as nobody knows the numbers."""
        return super().tick(now) if self.known else None

    def _lost(self) -> int:
        if self._arbiter is not None:
            return self.ledger.totals().lost + self._arbiter.lost
        missing = self._thinned_missing() if self._thinned else self.confluence.missing
        totals = self._above().get("totals")
        above = Counts.from_json(totals).lost if isinstance(totals, dict) else 0
        return above + missing

    def _thinned_missing(self) -> int:
        return self._missed_before + sum(standing.missed for standing in self._standings.values())

    def report(self, now: Moment) -> dict[str, Any]:
        """Return the JSON of a heartbeat: what the origin says of the DAQ's readouts, and our own account."""
        report = super().report(now)
        above = self._above()
        if self._arbiter is None:
            # What is of another type than our own would be is none of this protocol's.
            report |= {
                k: above[k] for k in _OF_THE_ORIGIN if k in above and type(above[k]) is type(report[k])
            }
            report |= {"totals": _counts(report["totals"]), "sources": _sources(report["sources"])}
            report["rejected"] = {k: n for k, n in report["rejected"].items() if isinstance(n, int)}
            report["remarks"] = [remark for remark in report["remarks"] if isinstance(remark, str)]
        if self._arbiter is not None or self._thinned:
            report["numbering"] = "own"
        return report

    def ways(self) -> dict[str, tuple[Hop, ...]]:
        """Return the hops of each path, as the relay above tells them, also while it waits itself."""
        return {path: parse_hops(s.report) or s.waits_behind for path, s in self._standings.items()}

    def loops(self) -> dict[str, str]:
        """Return the paths by which we would be fed by ourselves, and the way of each in words.

        A path that is also fed by another way is none, if all have us on their way: then it is for the relay
        where that way comes in to leave out the circle.
        """
        ways = self.ways()
        through_us = {path for path, way in ways.items() if any(hop.id == self.own_id for hop in way)}
        others = any(way for path, way in ways.items() if path not in through_us)
        return {
            path: " -> ".join(hop.address or hop.name for hop in ways[path])
            for path in through_us
            if others or not is_fed_without(ways[path], self.own_id)
        }

    def hops_so_far(self) -> tuple[Hop, ...]:
        """Return the relays on the way, while the stream is not known."""
        ways = self.ways()
        fed_by = [way[-1].id for way in ways.values() if way]
        unheard = [0] if len(fed_by) < len(self._paths) else []
        own = Hop(id=self.own_id, name=self.host, address=self.address, fed_by=(*fed_by, *unheard))
        return (*self._relays_above(ways), own)

    def _relays_above(self, ways: Mapping[str, tuple[Hop, ...]]) -> tuple[Hop, ...]:
        """Return the relays above; ourselves, where we are among them, it is not for those below to see."""
        return joined_hops([hop for hop in way if hop.id != self.own_id] for way in ways.values())

    def sources_above(self) -> Iterator[Source]:
        """Yield the sources of which the relays above have counted readouts."""
        for standing in self._standings.values():
            told = standing.report.get("sources") if standing.report is not None else None
            for source in told if isinstance(told, list) else ():
                if isinstance(source, dict) and isinstance(source.get("port"), int):
                    yield Source(str(source.get("address")), source["port"])

    def _pack_report(self, now: Moment) -> bytes:
        return wire.pack_json(self.report(now))  # also of what the relays above say

    def _hops(self, now: Moment, _totals: Counts, /) -> tuple[Hop, ...]:
        ways = self.ways()
        above = self._relays_above(ways)
        age_s = self.tracker.age_s(now)
        own = Hop(
            id=self.own_id,
            name=self.host,
            address=self.address,
            fed_by=tuple(way[-1].id for way in ways.values() if way),
            lost={Place.BETWEEN_RELAYS.key: self._missing},
            lost_first_ns=self._missing_first_ns,
            lost_last_ns=self._missing_last_ns,
            age_s=None if age_s is None else round(age_s, 3),
            lag_s=round(self.tracker.lag_s, 3),
            gaps=0 if self._thinned or self._arbiter is not None else self.confluence.missing,
            thinned=self._left_out(),
        )
        return (*above, own)

    def _left_out(self) -> int | None:
        """Return how many readouts the path left out; None where it brings all."""
        if not self._thinned:
            return None
        return self._thinned_before + sum(s.thinned or 0 for s in self._standings.values())

    def _note_missing(self, now: Moment) -> None:
        """Count the numbers that are missing here and are not missing above.

        A gap that a relay above has left is seen here before that one tells of it, with its next heartbeat.
        So it is decided only then whose it is, but where the relay above numbers by itself and leaves none.
        """
        settled = self._settled
        for path, standing in self._standings.items():
            report = standing.report
            if report is not None and report is not self._reports.get(path):
                self._reports[path] = report
                settled = True
                way = parse_hops(report)
                if way:
                    self._above_gaps.setdefault(path, _GapsAbove()).note(way[-1])
                self._settled = bool(way) and not way[-1].fed_by and len(self._standings) == 1
        if not settled:
            return
        missing = self._arbiter.lost if self._arbiter is not None else self.confluence.missing
        if self._thinned:
            missing = self._thinned_missing()
        missing = max(0, missing - min((above.count for above in self._above_gaps.values()), default=0))
        if missing > self._missing:
            self._missing_first_ns = self._missing_first_ns or now.ns
            self._missing_last_ns = now.ns
        self._missing = max(missing, self._missing)


@dataclass(slots=True)
class _GapsAbove:
    """Gaps that the relay at the other end of a path has left since we listen, over its restarts."""

    hop_id: int | None = None
    base: int = 0
    latest: int = 0
    before: int = 0

    def note(self, hop: Hop) -> None:
        """Take what it tells now."""
        if hop.id != self.hop_id:
            self.before += self.latest - self.base
            self.base = hop.gaps if self.hop_id is None else 0  # of a new start, all are from our time
            self.hop_id = hop.id
        self.latest = hop.gaps

    @property
    def count(self) -> int:
        """How many."""
        return self.before + self.latest - self.base


def _counts(value: Any) -> dict[str, Any]:
    """Return counts from above with every key that ours have; one that is no count is 0."""
    try:
        return Counts.from_json(value).to_json()
    except WireError:
        return Counts().to_json()


def _sources(told: list[Any]) -> list[dict[str, Any]]:
    """Return the accounts of the sources from above, those that are well-formed."""
    return [
        {"address": str(one.get("address")), "port": one["port"], **_counts(one)}
        | {key: one.get(key) is True for key in ("shared", "implausible")}
        for one in told[:MAX_SOURCES]
        if isinstance(one, dict) and isinstance(one.get("port"), int)
    ]
