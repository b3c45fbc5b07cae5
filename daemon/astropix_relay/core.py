"""One stream's share of the relay, without sockets or clocks: accept, number, batch, count, beat.

Bytes and times go in, messages come out; `service` waits, reads the clock and sends.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from astropix_analysis import wire
from astropix_analysis.clock import Moment
from astropix_analysis.datagrams import Drained
from astropix_analysis.intake import Buffer, Group, Intake
from astropix_analysis.ledger import Source, StreamLedger
from astropix_analysis.state import State, StateTracker

BEAT_INTERVAL_S = 1.0
MIN_BEAT_INTERVAL_S = 0.05  # so that a flood of subscriptions cannot make a flood of beats


class Message(NamedTuple):
    """One message as it goes to ZeroMQ: topic, header, payload."""

    topic: bytes
    header: bytes
    payload: bytes


class StreamCore:
    """Turns what a stream's socket drained into messages, and knows when a beat is due.

    Parameters
    ----------
    name
        The stream's name.
    relay_id
        Random number of this start of the relay.
    stride
        The DAQ multicasts one readout in `stride`.
    history_port
        Port of the history endpoint, told in beats; None without.
    """

    def __init__(self, name: str, relay_id: int, *, stride: int = 1, history_port: int | None = None) -> None:
        self.name = name
        self.relay_id = relay_id
        self.sequence = 0
        """The next number to be given; also the number of readouts published."""
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
        self._data_topic = wire.data_topic(name)
        self._beat_topic = wire.beat_topic(name)
        self._last_beat_s = float("-inf")
        self._beat_asked = True
        self._told_state: State | None = None

    def take(self, drained: Drained, now: Moment) -> Iterator[Message]:
        """Accept or reject what a socket gave, number it and iterate over the messages made of it, by source.

        They are counted after the last has been taken, so that a lone readout is out sooner: take them all.
        """
        groups = self._intake.sort(drained, now)
        for group in groups:
            whole = sum(group.sizes) <= wire.MAX_PAYLOAD
            for datagrams in [group.datagrams] if whole else split(group.datagrams):
                yield self._number(group, datagrams, now.ns)
        self._intake.tell(groups, now)
        for group in groups:
            self.tracker.received(group.source, group.timestamps[-1], now)

    def membership(self, joined: bool, words: str) -> None:
        """Note whether the group is joined, and where or why not."""
        self._joined, self._membership = joined, words

    def _number(self, group: Group, datagrams: Sequence[Buffer], now_ns: int) -> Message:
        count = len(datagrams)
        payload = b"".join(datagrams)
        header = self._header(count, group.source, now_ns)
        self.sequence += count
        self.messages += 1
        self.bytes += len(payload)
        return Message(self._data_topic, header, payload)

    def _header(self, count: int, source: Source, now_ns: int) -> bytes:
        return wire.pack_header((0, count, self.relay_id, self.sequence, now_ns, source))

    def subscribed(self, prefix: bytes) -> None:
        """Note a new subscription; one that covers this stream is answered with a beat."""
        if self._beat_topic.startswith(prefix) or self._data_topic.startswith(prefix):
            self._beat_asked = True

    def state(self, now: Moment) -> State:
        """Return the stream's state."""
        return self.tracker.state(now, connected=self._joined)

    def beat_due_s(self) -> float:
        """Return the time at which the next beat is due; it may have passed."""
        return self._last_beat_s + (MIN_BEAT_INTERVAL_S if self._beat_asked else BEAT_INTERVAL_S)

    def tick(self, now: Moment) -> Message | None:
        """Return a beat if one is due or the state has changed."""
        if now.s >= self.beat_due_s() or (
            now.s >= self._last_beat_s + MIN_BEAT_INTERVAL_S and self.state(now) != self._told_state
        ):
            return self.beat(now)
        return None

    def beat(self, now: Moment) -> Message:
        """Return a beat: the next sequence number, and what is known at this moment."""
        self.ledger.tick(now)
        self.tracker.lost(self.ledger.totals().lost, now)
        report = self.report(now)
        self._told_state = report["state"]
        self._last_beat_s = now.s
        self._beat_asked = False
        header = self._header(0, wire.NO_SOURCE, now.ns)
        return Message(self._beat_topic, header, wire.pack_json(report))

    def report(self, now: Moment) -> dict[str, Any]:
        """Return what the relay knows of the stream, as it stands in a beat."""
        ledger, totals = self.ledger, self.ledger.totals()
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
            "totals": totals.to_json(),
            "at_most": ledger.at_most,
            "sources": [
                {"address": source.address, "port": source.port, **counts.to_json()}
                for source, counts in ledger.sources().items()
            ],
            "history_port": self._history_port,
        }


def split(datagrams: Sequence[Buffer]) -> list[Sequence[Buffer]]:
    """Split datagrams so that each part fits a message's payload; one that is larger stands alone."""
    if sum(map(len, datagrams)) <= wire.MAX_PAYLOAD:
        return [datagrams]
    parts: list[Sequence[Buffer]] = []
    begin = size = 0
    for i, datagram in enumerate(datagrams):
        if size and size + len(datagram) > wire.MAX_PAYLOAD:
            parts.append(datagrams[begin:i])
            begin, size = i, 0
        size += len(datagram)
    return [*parts, datagrams[begin:]]
