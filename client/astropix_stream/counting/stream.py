"""The account of one stream as one socket sees it: which sources send, and what came of each. Pure.

It is the same in the relay, in a receiver that joined the group itself, and of a file.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from astropix_stream.arguments import check_whole
from astropix_stream.batch import Batch, Run, RunStart, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.account import Gap, KernelDrops
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.losses import Period, extend
from astropix_stream.counting.sequencing import SourceSequence

MAX_SOURCES = 64  # accounts in a stream; further sources share one that counts what it receives
IDLE_S = 60.0  # after which a source may give its account to a new one


class StreamLedger:
    """The account of one stream as one socket sees it, told in the order of the kernel's queue.

    Parameters
    ----------
    stride
        The DAQ multicasts one readout in `stride`.
    """

    def __init__(self, *, stride: int = 1) -> None:
        self.rejected: Counter[str] = Counter()
        """Datagrams that were not readouts, by reason; those that no gap claims are foreign."""
        self._stride = check_whole("stride", stride, 1)
        self._kernel = KernelDrops()
        self._sources: dict[Source, SourceSequence] = {}
        self._retired = Counts()
        self._retired_periods: dict[str, Period] = {}
        self._none_idle_before_s = float("-inf")
        self._unaccounted = 0

    def goes_on(
        self,
        batches: Sequence[Batch],
        readout_ids: Sequence[int],
        last_timestamp: int,
        now: Moment,
        *,
        rising: bool = False,
    ) -> bool:
        """Note batches of one source that go on, in order, where its last ones ended; with the ids of all.

        Return false, and note nothing, if they do not, or anything else is open: then tell `note`.
        """
        account = self._sources.get(batches[0].source)
        if account is None:
            return False
        return account.goes_on(readout_ids, last_timestamp, now, batches, rising=rising)

    def note(self, batch: Batch, now: Moment, *, rising: bool = False) -> None:
        """Note readouts in order of arrival; write into the batch which runs begin and the duplicates.

        `rising` is said of a file in which the timestamps of all readouts so far rise: none came before.
        """
        account = self._sources.get(batch.source) or self._open_account(batch.source, now)
        if account is None:
            self._unaccounted += len(batch)
            return
        begun, batch.duplicates = account.note(batch, now, rising=rising)
        batch.runs = [RunStart(max(0, at), batch.source, run, max(0, -at)) for at, run in begun]

    def received(
        self, source: Source, readout_ids: Sequence[int], timestamps: Sequence[int], now: Moment
    ) -> list[RunStart]:
        """Do what `note` does, where of readouts only ids and timestamps are known; return the runs."""
        batch = Batch(source, now.ns, b"", readout_ids, timestamps, range(len(readout_ids)))
        self.note(batch, now)
        return [*batch.runs]

    def note_rejected(self, source: Source, reason: str) -> None:
        """Note a datagram that was not a readout."""
        self.rejected[reason] += 1
        if source in self._sources:
            self._sources[source].note_rejected(reason)

    def note_dropped(self, count: int) -> None:
        """Note that the kernel dropped `count` datagrams, just before the datagram noted next."""
        self._kernel.total += count

    def tick(self, now: Moment) -> None:
        """Close the gaps whose time has come."""
        for account in self._sources.values():
            account.tick(now)

    @property
    def stride(self) -> int:
        """The DAQ multicasts one readout in so many; may be changed, for the readouts to come."""
        return self._stride

    @stride.setter
    def stride(self, stride: int) -> None:
        self._stride = stride
        for account in self._sources.values():
            account.stride = stride

    @property
    def kernel_dropped(self) -> int:
        """Datagrams that the kernel dropped on the socket, readouts or not."""
        return self._kernel.total

    @property
    def at_most(self) -> bool:
        """Whether `in_kernel` may be too large: drops carry no source, and some may have been no readouts."""
        several = len(self._sources) > 1 or self._retired.received > 0
        rejected = sum(account.rejected.total() for account in self._sources.values())
        foreign = self._kernel.total > self._kernel.claimed or self.rejected.total() > rejected
        return self._kernel.claimed > 0 and (several or foreign)

    def sources(self) -> dict[Source, Counts]:
        """Return the account of each source."""
        return {source: _counts(account) for source, account in self._sources.items()}

    def shared(self) -> list[Source]:
        """Return the sources that two DAQs share: two sequences of ids go on there beside each other."""
        return [source for source, account in self._sources.items() if account.shared]

    def implausible(self) -> list[Source]:
        """Return the sources whose ids follow no order; what they miss is in no account."""
        return [source for source, account in self._sources.items() if account.implausible]

    def remarks(self) -> list[str]:
        """Return what a person should know of the sources."""
        return [
            *(f"two sources seem to share {source}" for source in self.shared()),
            *(
                f"the readout_ids of {source} follow no order, its losses are not counted"
                for source in self.implausible()
            ),
        ]

    @property
    def is_empty(self) -> bool:
        """Whether nothing has ever come, and nothing was dropped."""
        return not (self._sources or self.rejected or self._kernel.total)

    def totals(self, sources: Mapping[Source, Counts] | None = None) -> Counts:
        """Return the account of the stream; who has asked for `sources` just now can give them."""
        counts = [*(self.sources() if sources is None else sources).values()]
        if self._retired.received:
            counts.append(self._retired)
        if self._unaccounted:
            counts.append(Counts(received=self._unaccounted))
        return sum(counts[1:], counts[0]) if counts else Counts()

    def gaps(self) -> list[tuple[Source, Gap]]:
        """Return the last 100 gaps of each source, in order of time."""
        every = [(source, gap) for source, account in self._sources.items() for gap in account.gaps]
        return sorted(every, key=lambda item: item[1].ended_ns)

    def periods(self) -> dict[str, Period]:
        """Return the first and last loss of each cause, of all gaps since the begin."""
        periods = dict(self._retired_periods)
        for account in self._sources.values():
            extend(periods, account.gaps.periods)
        return periods

    def runs(self) -> dict[Source, list[Run]]:
        """Return the latest runs of each source."""
        return {source: list(account.runs) for source, account in self._sources.items()}

    def _open_account(self, source: Source, now: Moment) -> SourceSequence | None:
        if len(self._sources) >= MAX_SOURCES and not self._retire(now):
            return None
        account = self._sources[source] = SourceSequence(self._stride, self._kernel)
        return account

    def _retire(self, now: Moment) -> bool:
        """Give up the account that was idle for longest: each start of a DAQ comes from a new port."""
        if now.s < self._none_idle_before_s:  # a flood of forged sources must not search at each datagram
            return False
        source, account = min(self._sources.items(), key=lambda item: item[1].last_s)
        self._none_idle_before_s = account.last_s + IDLE_S
        if now.s < self._none_idle_before_s:
            return False
        account.tick(now)
        self._retired += _counts(account)
        extend(self._retired_periods, account.gaps.periods)
        del self._sources[source]
        return True


def _counts(account: SourceSequence) -> Counts:
    return Counts(
        received=account.received,
        duplicates=account.duplicates,
        reordered=account.reordered,
        late=account.late,
        stray=account.stray,
        before_joining=account.before_joining,
        rejected=dict(account.rejected),
        in_kernel=account.in_kernel,
        before_socket=account.before_socket,
        runs=account.run_count,
        undecided=account.unproved,
    )
