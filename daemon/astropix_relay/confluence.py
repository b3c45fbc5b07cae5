"""One stream out of those of several relays that forward the same one, which keeps its numbers.

Pure. A readout is known by its `Position`: which relay numbered it, and how. Each path brings its readouts in
order, less what it lost; a number that one path has not is waited for as long as another may still bring it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from astropix_stream.batch import Batch, Position
from astropix_stream.counting.hops import Hop

WAIT_S = 5.0  # for a number that one path has not: as long as another one may wait for a page of history
TWO_ORIGINS_AFTER_S = 5.0  # of paths that tell different relays: a restart is known on all paths sooner
MAX_HELD_BYTES = 8 << 20
_COST = 150  # bytes of Python's for each readout held, besides its own


class Standing(NamedTuple):
    """How far one path has come, and what its relay says.

    Attributes
    ----------
    connected
        The relay is heard.
    position
        The number of the readout that it delivers next; None before it was heard.
    live_from
        The number of the first readout that it published after we came.
    report
        The JSON of its latest heartbeat.
    thinned, missed
        Readouts that it left out to keep within a bandwidth, None where there is none; numbers that it lost.
    waits_behind
        While it waits itself for the stream, the relays on the way to it.
    """

    connected: bool
    position: Position | None = None
    live_from: int = 0
    report: Mapping[str, Any] | None = None
    thinned: int | None = None
    missed: int = 0
    waits_behind: tuple[Hop, ...] = ()


class Confluence:
    """Puts the readouts of all paths into the order of their numbers, each once."""

    def __init__(self) -> None:
        self.at: Position | None = None
        """The number of the readout that is next; None before any path was heard."""
        self.live_from = 0
        """What is before this was published before we came."""
        self.missing = 0
        """Numbers that no path brought."""
        self.later = 0
        """Readouts that another path had brought before."""
        self.restarts = 0
        """Times that the relay that gives the numbers was another one."""
        self.two_origins = False
        """The paths have come from two relays that number by themselves, through 5 s."""
        self._before: set[int] = set()  # relays that gave the numbers before
        self._held: list[tuple[int, float, Batch]] = []  # by sequence: since when
        self._held_bytes = 0
        self._differ_since_s: float | None = None
        self._standings: Mapping[str, Standing] = {}

    def stand(self, standings: Mapping[str, Standing], now_s: float) -> list[Batch]:
        """Note how far the paths have come, after `take` of what came; return what waits no longer."""
        self._standings = standings
        heard = {s.position.relay_id for s in standings.values() if s.connected and s.position is not None}
        if len(heard) < 2:
            self._differ_since_s = None
        elif self._differ_since_s is None:
            self._differ_since_s = now_s
        elif now_s - self._differ_since_s >= TWO_ORIGINS_AFTER_S:
            self.two_origins = True
        given: list[Batch] = []
        for standing in standings.values():
            if standing.position is not None:
                given += self._adopt(standing.position, standing.live_from)
        given += self._release(now_s)
        self._give_up()
        return given

    def take(self, batch: Batch, live_from: int, now_s: float) -> list[Batch]:
        """Take in the readouts of one path, which have a position; return those whose turn it is."""
        position = batch.position
        if position is None:
            raise ValueError("a batch without a position")
        given = self._adopt(position, live_from)
        at = self._at()
        if position.relay_id != at.relay_id:
            self.later += len(batch)
        elif position.sequence > at.sequence:
            self._hold(position.sequence, batch, now_s)
            given += self._release(now_s)
        else:
            given += self._deliver(batch)
            if self._held:
                given += self._release(now_s)
        return given

    @property
    def holds(self) -> bool:
        """Whether readouts wait for a number before them."""
        return bool(self._held)

    def passed(self, at: Position) -> None:
        """Note that the readouts that were next have been given out, up to this one; nothing is held."""
        self.at = at

    def _at(self) -> Position:
        if self.at is None:
            raise ValueError("no path was heard")
        return self.at

    def _adopt(self, position: Position, live_from: int) -> list[Batch]:
        """Follow the relay that gives the numbers: the first that is heard, or one that is new.

        A path that followed a restart tells no `live_from`: all from 0 on is ours. One that has just begun
        does; if its relay is another one than that of a path which is heard, these are two origins.
        """
        if self.at is None:
            self.at, self.live_from = position, live_from
            return []
        before = self.at.relay_id
        if position.relay_id == before or position.relay_id in self._before:
            return []
        given = self._release(float("inf"))
        if live_from and any(
            s.connected and s.position and s.position.relay_id == before for s in self._standings.values()
        ):
            self.two_origins = True
        self._before.add(before)
        self.restarts += 1
        self.at = position if live_from else position._replace(sequence=0)
        self.live_from = live_from
        return given

    def _hold(self, sequence: int, batch: Batch, now_s: float) -> None:
        at = len(self._held)
        while at and self._held[at - 1][0] > sequence:
            at -= 1
        self._held.insert(at, (sequence, now_s, batch))
        self._held_bytes += len(batch.payload) + _COST * len(batch)

    def _release(self, now_s: float) -> list[Batch]:
        """Return what is held, up to the first number that a path may still bring."""
        given: list[Batch] = []
        while self._held:
            sequence, since_s, batch = self._held[0]
            at = self._at()
            if sequence > at.sequence:
                overdue = now_s - since_s >= WAIT_S or self._held_bytes > MAX_HELD_BYTES
                if not overdue and not self._all_passed(sequence):
                    break
                self._skip_to(sequence)
            self._held.pop(0)
            self._held_bytes -= len(batch.payload) + _COST * len(batch)
            given += self._deliver(batch)
        return given

    def _give_up(self) -> None:
        """Go on to where all paths are that are heard: what they have not brought until there is missing."""
        at = self.at
        if at is None or self._held:
            return
        found = [s.position for s in self._standings.values() if s.connected and s.position is not None]
        ends = [position.sequence for position in found if position.relay_id == at.relay_id]
        end = min(ends, default=at.sequence)
        if end > at.sequence and self._all_passed(end):
            self._skip_to(end)

    def _skip_to(self, sequence: int) -> None:
        at = self._at()
        self.missing += max(0, sequence - max(at.sequence, self.live_from))
        self.at = at._replace(sequence=sequence)

    def _all_passed(self, sequence: int) -> bool:
        """Whether no path that is heard can bring what is before this number."""
        relay_id = self._at().relay_id
        positions = [s.position for s in self._standings.values() if s.connected]
        found = [position for position in positions if position is not None]
        follow = any(position.relay_id in self._before for position in found)
        return not follow and all(p.sequence >= sequence for p in found if p.relay_id == relay_id)

    def _deliver(self, batch: Batch) -> list[Batch]:
        """Return a batch that begins no later than with the next number, less what is known already."""
        at, position = self._at(), batch.position
        known = 0 if position is None else at.sequence - position.sequence
        if known >= len(batch):
            self.later += len(batch)
            return []
        if known > 0:
            self.later += known
            batch = batch.part(known, len(batch))
        self.at = at._replace(sequence=at.sequence + len(batch))
        return [batch]
