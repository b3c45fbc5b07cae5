"""One stream's share of the relay, without sockets or clocks: accept, number, batch, count, heartbeat.

Bytes and times go in, messages come out; `service` waits, reads the clock and sends.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from astropix_relay.history import History
from astropix_stream import wire
from astropix_stream.batch import Drained, One
from astropix_stream.clock import Moment
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.hops import Hop
from astropix_stream.counting.ledger import place_counts
from astropix_stream.counting.places import Place
from astropix_stream.counting.state import State, StateTracker
from astropix_stream.counting.stream import StreamLedger
from astropix_stream.multicast.intake import Intake

BEAT_INTERVAL_S = 1.0
MIN_BEAT_INTERVAL_S = 0.05  # so that a flood of subscriptions cannot make a flood of heartbeats
MANY = 32  # messages that wait to be settled together, 32 ms of them under load; others until the next tick

_HERE = (Place.RELAY_KERNEL, Place.RELAY_REJECTED)

Message = tuple[bytes, bytes, bytes]
"""One message as it goes to ZeroMQ: topic, header, payload."""


class StreamCore:
    """Turns what a stream's socket drained into messages, and knows when a heartbeat is due.

    Parameters
    ----------
    name
        The stream's name.
    relay_id
        Random number of this start of the relay.
    stride
        The DAQ multicasts one readout in `stride`.
    history
        Where messages are remembered; None for nowhere.
    history_port
        Port of the history endpoint, told in heartbeats; None without.
    host, address
        Name of our host and where we publish, for the hops in heartbeats.
    """

    def __init__(
        self,
        name: str,
        relay_id: int,
        *,
        stride: int = 1,
        history: History | None = None,
        history_port: int | None = None,
        host: str = "",
        address: str = "",
    ) -> None:
        self.name = name
        self.own_id = relay_id
        """Random number of this start of ours, whoever gives the numbers."""
        self.host, self.address = host, address
        self.relay_id = relay_id
        self.sequence = 0
        """The next number to be given; also the number of readouts published."""
        self.history = history
        self.messages = 0
        self.bytes = 0
        self.ledger = StreamLedger(stride=stride)
        self.tracker = StateTracker()
        self.kernel_dropped = 0
        """The kernel's own count, ahead of what comes with datagrams; for reports, not for the ledger."""
        self._joined = False
        self._membership = ""
        self._history_port = history_port
        self._intake = Intake(self.ledger)
        self._unsettled: list[Message] = []
        self._data_topic = wire.data_topic(name)
        self._beat_topic = wire.beat_topic(name)
        self._last_beat_s = float("-inf")
        self._beat_asked = True
        self._told_state: State | None = None
        self._silent: tuple[object, ...] = ()
        self._silent_report = b""

    @property
    def known(self) -> bool:
        """Whether it is known who numbers the stream: nothing is published before."""
        return True

    def take(self, drained: Drained, now: Moment) -> list[Message]:
        """Accept or reject what a socket gave, number it, and return the messages made of it, by source.

        To count and to remember them is left to `settle`, or the next call once they are many.
        """
        if len(self._unsettled) >= MANY:
            self.settle()
        messages = []
        for batch in self._intake.sort(drained, now):
            payload, ends = batch.payload, batch.ends
            whole = ((0, len(payload), len(ends)),)  # what `split_for_messages` would say, without its loop
            for begin, end, count in whole if len(payload) <= wire.MAX_PAYLOAD else split_for_messages(ends):
                header = wire.pack_header((0, count, self.relay_id, self.sequence, now.ns, batch.source))
                self.sequence += count
                messages.append((self._data_topic, header, payload[begin:end]))
        self._unsettled += messages
        return messages

    def take_one(self, one: One, s: float, ns: int) -> Message | None:
        """Take a datagram that came alone on the shortest way; None, with nothing done, is for `take`.

        `s` and `ns` are the two clocks at this moment.
        """
        if self._intake.take_one(one, s, ns) is None:
            return None
        header = wire.pack_header((0, 1, self.relay_id, self.sequence, ns, one[1]))
        self.sequence += 1
        message = (self._data_topic, header, one[0])
        self._unsettled.append(message)
        return message

    def settle(self) -> None:
        """Count and remember what was taken since the last call.

        A readout is published before. That is done for many at once: one by one it runs from cold caches and
        takes three times as long.
        """
        if not (self._unsettled or self._intake.owes):
            return
        for source, timestamp, now in self._intake.tell():
            self.tracker.received(source, timestamp, now)
        messages, self._unsettled = self._unsettled, []
        self.messages += len(messages)
        for _, header, payload in messages:
            self.bytes += len(payload)
            if self.history is not None:
                self.history.append(header, payload)

    def replace_socket(self, dropped: int) -> None:
        """Note that what is taken from now on comes from another socket; see `Intake.replace_socket`."""
        self._intake.replace_socket(dropped)

    def membership(self, joined: bool, words: str) -> None:
        """Note whether the group is joined, and where or why not."""
        self._joined, self._membership = joined, words

    def subscribed(self, prefix: bytes) -> None:
        """Note a new subscription; one that covers this stream is answered with a heartbeat."""
        if self._beat_topic.startswith(prefix) or self._data_topic.startswith(prefix):
            self._beat_asked = True

    def state(self, now: Moment) -> State:
        """Return the stream's state."""
        return self.tracker.state(now, connected=self._joined)

    def beat_due_s(self) -> float:
        """Return the time at which the next heartbeat is due; it may have passed."""
        return self._last_beat_s + (MIN_BEAT_INTERVAL_S if self._beat_asked else BEAT_INTERVAL_S)

    def tick(self, now: Moment) -> Message | None:
        """Return a heartbeat if one is due or the state has changed.

        Of a stream that is live and goes on, what has come meanwhile is settled with the next heartbeat: a
        relay of hundreds of streams would do hardly anything else.
        """
        if now.s >= self.beat_due_s():
            return self.beat(now)
        if now.s < self._last_beat_s + MIN_BEAT_INTERVAL_S or (self._goes_on and len(self._unsettled) < MANY):
            return None
        self.settle()
        return self.beat(now) if self.state(now) != self._told_state else None

    @property
    def _goes_on(self) -> bool:
        """Whether readouts came of a stream that was live, and that can come: it still is."""
        return bool(self._unsettled) and self._joined and self._told_state is State.LIVE

    def beat(self, now: Moment) -> Message:
        """Return a heartbeat: the next sequence number, and what is known at this moment."""
        self.settle()
        self.ledger.tick(now)
        self.tracker.lost(self._lost(), now)
        self._told_state = self.state(now)
        self._last_beat_s = now.s
        self._beat_asked = False
        header = wire.pack_header((0, 0, self.relay_id, self.sequence, now.ns, wire.NO_SOURCE))
        return self._beat_topic, header, self._pack_report(now)

    def _pack_report(self, now: Moment) -> bytes:
        """Return the report as it is sent; that of the last heartbeat where nothing has ever come."""
        if not self.ledger.is_empty:
            return wire.pack_json(self.report(now))
        silent = (self._told_state, self._joined, self._membership, self.kernel_dropped, self.ledger.stride)
        if silent != self._silent:
            self._silent, self._silent_report = silent, wire.pack_json(self.report(now))
        return self._silent_report

    def report(self, now: Moment) -> dict[str, Any]:
        """Return what the relay knows of the stream, as it stands in a heartbeat."""
        self.settle()
        ledger, sources = self.ledger, self.ledger.sources()
        totals = ledger.totals(sources)
        shared, implausible = ledger.shared(), ledger.implausible()
        age_s = self.tracker.age_s(now)
        return {
            "state": self.state(now),
            "joined": self._joined,
            "membership": self._membership,
            "received": totals.received,
            "published": self.sequence,
            "kernel_dropped": max(ledger.kernel_dropped, self.kernel_dropped),
            "rejected": dict(ledger.rejected),
            "last_readout_age_s": None if age_s is None else round(age_s, 3),
            "lag_s": round(self.tracker.lag_s, 3),
            "stride": ledger.stride,
            "totals": totals.to_json(),
            "at_most": ledger.at_most,
            "remarks": ledger.remarks(),
            "sources": [
                {
                    "address": source.address,
                    "port": source.port,
                    **counts.to_json(),
                    "shared": source in shared,
                    "implausible": source in implausible,
                }
                for source, counts in sources.items()
            ],
            "history_port": self._history_port,
            "hops": [hop.to_json() for hop in self._hops(now, totals)],
        }

    def _lost(self) -> int:
        return self.ledger.totals().lost

    def _hops(self, now: Moment, totals: Counts, /) -> tuple[Hop, ...]:
        """Return the relays on the way to our subscribers: ourselves, where we join the group."""
        periods, age_s = self.ledger.periods().values(), self.tracker.age_s(now)
        hop = Hop(
            id=self.own_id,
            name=self.host,
            address=self.address,
            lost={place.key: n for place, n in place_counts(totals, *_HERE).items()},
            lost_first_ns=min((period.first_ns for period in periods), default=0),
            lost_last_ns=max((period.last_ns for period in periods), default=0),
            age_s=None if age_s is None else round(age_s, 3),
            lag_s=round(self.tracker.lag_s, 3),
        )
        return (hop,)


def split_for_messages(ends: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Split readouts with these ends so that each part fits a message's payload; a larger one stands alone.

    Yields where each part begins and ends, in bytes, and how many readouts are in it.
    """
    begin = last = count = 0
    for end in ends:
        if count and end - begin > wire.MAX_PAYLOAD:
            yield begin, last, count
            begin, count = last, 0
        last, count = end, count + 1
    yield begin, last, count
