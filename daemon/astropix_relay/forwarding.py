"""One stream that other relays have numbered: put their ways together, publish it unchanged, tell the hops.

Pure, as `core`, whose `StreamCore` does the same for a stream that comes from a group.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from astropix_relay.confluence import Confluence, Standing
from astropix_relay.core import MANY, Message, StreamCore
from astropix_relay.history import History
from astropix_stream import wire
from astropix_stream.batch import Batch, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.hops import Hop, joined_hops, parse_hops
from astropix_stream.counting.ledger import MAX_SOURCES, Counts
from astropix_stream.counting.places import Place
from astropix_stream.counting.state import State
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
    ) -> None:
        super().__init__(
            name, relay_id, history=history, history_port=history_port, host=host, address=address
        )
        self.confluence = Confluence()
        self.readout_uid: int | None = None
        """The kind of the readouts; None until a relay has told it."""
        self._paths = tuple(paths)
        self._arbiter: Arbiter | None = None
        self._standings: Mapping[str, Standing] = {}
        self._above_before: dict[str, int] = {}  # missing above, by path, when it was first heard
        self._missing = 0
        self._missing_first_ns = self._missing_last_ns = 0

    @property
    def known(self) -> bool:
        """Whether it is known who numbers the stream; nothing is published before."""
        return self._arbiter is not None or self.confluence.at is not None

    def use_paths(self, paths: Sequence[str]) -> None:
        """Take up other ways to the stream; the numbers go on."""
        self._paths = tuple(paths)
        self._above_before = {path: n for path, n in self._above_before.items() if path in paths}
        if self._arbiter is not None:
            self._arbiter = Arbiter(len(self._paths))

    def forward(
        self, brought: Sequence[Brought], standings: Mapping[str, Standing], now: Moment
    ) -> list[Message]:
        """Take what the paths brought, and how far they have come; return the messages to publish."""
        if len(self._unsettled) >= MANY:
            self.settle()
        self._standings = standings
        if self._arbiter is not None:
            return self._number_afresh(self._arbiter, brought, now)
        batches: list[Batch] = []
        for _, live_from, batch in brought:
            batches += self.confluence.take(batch, live_from, now.s)
        batches += self.confluence.stand(standings, now.s)
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

    def _number_afresh(self, arbiter: Arbiter, brought: Sequence[Brought], now: Moment) -> list[Message]:
        batches: list[Batch] = []
        for path, _, batch in brought:
            batches += arbiter.take(self._paths.index(path), batch, now)
        batches += arbiter.tick(now)
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
        """Return the stream's state; also that no relay above is heard, or that it hears none itself."""
        if not self._heard():
            return State.UPSTREAM_LOST
        told = [standing.report["state"] for standing in self._heard() if standing.report is not None]
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
        totals = self._above().get("totals")
        above = Counts.from_json(totals).lost if isinstance(totals, dict) else 0
        return above + self.confluence.missing

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
        else:
            report["numbering"] = "own"
        return report

    def ways(self) -> dict[str, tuple[Hop, ...]]:
        """Return the hops of each path, as the relay above tells them."""
        return {path: parse_hops(standing.report) for path, standing in self._standings.items()}

    def sources_above(self) -> Iterator[Source]:
        """Yield the sources of which the relays above have counted readouts."""
        for standing in self._standings.values():
            told = standing.report.get("sources") if standing.report is not None else None
            for source in told if isinstance(told, list) else ():
                if isinstance(source, dict) and isinstance(source.get("port"), int):
                    yield Source(str(source.get("address")), source["port"])

    def _hops(self, now: Moment) -> tuple[Hop, ...]:
        ways = self.ways()
        above = joined_hops(ways.values())
        missing = self._missing_here(ways)
        if missing > self._missing:
            self._missing_first_ns = self._missing_first_ns or now.ns
            self._missing_last_ns = now.ns
            self._missing = missing
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
        )
        return (*above, own)

    def _missing_here(self, ways: Mapping[str, Sequence[Hop]]) -> int:
        """Return how many numbers no path brought, less those that the relays above did not have either."""
        above = []
        for path, way in ways.items():
            if way:
                missing = sum(hop.lost.get(Place.BETWEEN_RELAYS.key, 0) for hop in way)
                above.append(missing - self._above_before.setdefault(path, missing))
        missing = self._arbiter.lost if self._arbiter is not None else self.confluence.missing
        return max(0, missing - min(above, default=0))


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
        for one in told[:MAX_SOURCES]
        if isinstance(one, dict) and isinstance(one.get("port"), int)
    ]
