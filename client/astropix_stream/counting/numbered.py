"""The account of a stream whose readouts a relay has numbered, whatever way they came. Pure.

Who follows the numbers, a subscription or a reader of the log, knows which are missing and where they went.
Here is what both do with it: they add up losses, take what the relay itself counts, and go on over a restart.
"""

from collections.abc import Mapping
from typing import Any

from astropix_stream.batch import Batch, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.hops import HopLosses, parse_hops
from astropix_stream.counting.ledger import Ledger, place_counts
from astropix_stream.counting.losses import Loss, Losses, Period, extend
from astropix_stream.counting.places import Place
from astropix_stream.counting.stream import StreamLedger
from astropix_stream.counting.track import PLAUSIBLE_JUMP, distance


class NumberedAccount:
    """What came of a stream, and what did not.

    Parameters
    ----------
    stride
        The DAQ multicasts one readout in `stride`.
    """

    def __init__(self, *, stride: int = 1) -> None:
        self.readouts = StreamLedger(stride=stride)
        self.losses = Losses()
        self.restarts = 0
        """Times that the relay that gives the numbers was another one."""
        self.last_ns = 0
        """When something last came, or was known not to be missing: losses noticed later began after it."""
        self._lost: dict[Place, int] = {}  # what is known here, and from relays that are gone
        self._baseline: Counts | None = None  # what the relay had lost when we joined
        self._latest: Counts | None = None
        self.resumed: dict[Source, int] = {}
        """The last readout_id of each source before a restart of the relay, until it is heard again."""
        self.missed = 0
        """Numbers that were given up since the last delivery."""
        self._hops = HopLosses()

    def join(self, lost: Counts | None) -> None:
        """Begin; of what the relay counts, `lost` is not ours. None: what it counts first is not."""
        self._baseline = self._latest = lost

    def restart(self, lost: Counts | None) -> None:
        """Follow another start of the relay; of what that one counts, `lost` is known already."""
        self.restarts += 1
        for place, count in self.relay_losses().items():
            self._lost[place] = self._lost.get(place, 0) + count
        self.resumed = {source: runs[-1].last_id for source, runs in self.readouts.runs().items() if runs}
        self.join(lost)

    def delivered(self, batch: Batch, at: Moment, at_ns: int) -> None:
        """Count readouts that came, `at` by the clock that tells late ones, `at_ns` by that of losses."""
        last_id = self.resumed.pop(batch.source, None) if self.resumed else None
        if last_id is not None:
            self._count_resumed(last_id, batch.readout_ids[0], at_ns)
        self.missed = 0
        self.readouts.note(batch, at)
        self.last_ns = at_ns

    def _count_resumed(self, last_id: int, readout_id: int, at_ns: int) -> None:
        """Count what a source sent while no relay was there: the step in its readout_ids over the restart.

        What the relays did publish, but not to us, is known by their numbers and counted already.
        """
        ahead = distance(last_id, readout_id)
        if 0 < ahead <= PLAUSIBLE_JUMP:
            missing = (ahead - 1) // self.readouts.stride - self.missed
            self.lose(Place.BEFORE_SOCKET, missing, at_ns)

    def miss(self, place: Place, count: int, at_ns: int, *, not_ours: int = 0) -> None:
        """Give up `count` numbers and `not_ours` before them, which were published before we came."""
        self.lose(place, count, at_ns)
        self.missed += count + not_ours

    def lose(self, place: Place, count: int, at_ns: int | None) -> None:
        """Count readouts as lost, if there are any; None where nobody knows when."""
        if count > 0:
            self._lost[place] = self._lost.get(place, 0) + count
            if at_ns is not None:
                self.losses.append(Loss(place, count, self.last_ns or at_ns, at_ns))

    def take_counts(self, counts: Counts, at_ns: int) -> None:
        """Take what the relay counts; only what it lost after we joined is ours."""
        before = self.relay_losses()
        if self._baseline is None:
            self._baseline = counts
        self._latest = counts
        for place, count in self.relay_losses().items():
            more = count - before.get(place, 0)
            if more > 0:
                self.losses.append(Loss(place, more, self.last_ns or at_ns, at_ns))

    def lost(self, place: Place) -> int:
        """Return how many were lost at a place, as far as it is known here."""
        return self._lost.get(place, 0)

    def relay_losses(self) -> Mapping[Place, int]:
        """Return what the relay lost since we joined, or since it was started, by place."""
        if self._latest is None or self._baseline is None:
            return {}
        return place_counts(self._latest - self._baseline, Place.RELAY_KERNEL, Place.RELAY_REJECTED)

    def take_hops(self, report: Mapping[str, Any] | None) -> None:
        """Take what the relays on the way say that they lost, from the latest heartbeat."""
        self._hops.take(parse_hops(report))

    def ledger(
        self, place: Place, report: Mapping[str, Any] | None, *, thinned: int = 0, **more: Any
    ) -> Ledger:
        """Return the account.

        Parameters
        ----------
        place
            Where numbers are missed here. What relays above have lost is missing in them, too.
        report
            The relay's latest word.
        thinned
            Readouts that were left out here to save bandwidth.
        more
            Further fields of the `Ledger`.
        """
        totals = self.readouts.totals()
        lost_at = dict(self._lost)
        for at, count in self.relay_losses().items():
            lost_at[at] = lost_at.get(at, 0) + count
        hops, periods = self._between_relays(lost_at, place)
        remarks = report.get("remarks") if report else None
        return Ledger(
            delivered=totals.delivered,
            late=totals.late,
            lost_at={at: lost_at[at] for at in Place if lost_at.get(at)},
            duplicates=totals.duplicates,
            reordered=totals.reordered,
            stray=totals.stray,
            runs=totals.runs,
            restarts=self.restarts,
            at_most=bool(report and report.get("at_most")),
            losses=tuple(self.losses),
            remarks=tuple(filter(str.isprintable, map(str, remarks))) if isinstance(remarks, list) else (),
            periods={**self.losses.periods, **periods},
            hops=hops,
            thinned=thinned + self._hops.thinned(),
            **more,
        )

    def _between_relays(
        self, lost_at: dict[Place, int], place: Place
    ) -> tuple[dict[str, int], dict[Place, Period]]:
        """Move what relays above lost out of what is missing at `place`: the numbers show both alike.

        They do not show what was lost before a relay that numbers what is left of a thinned stream.
        Return how many were lost on which hop, and when.
        """
        hops: dict[str, int] = {}
        periods: dict[Place, Period] = {}
        for where, count, period, shown in self._hops.lost():
            here = min(count, lost_at.get(place, 0)) if shown else count
            if here:
                if shown:
                    lost_at[place] -= here
                lost_at[Place.BETWEEN_RELAYS] = lost_at.get(Place.BETWEEN_RELAYS, 0) + here
                hops[where] = here
                extend(periods, {Place.BETWEEN_RELAYS: period})
        return hops, periods
