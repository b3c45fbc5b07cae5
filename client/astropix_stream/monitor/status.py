"""How the stream does, in values and words: what the page says beside every plot. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from astropix_stream import numbers
from astropix_stream.batch import Source
from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.state import State
from astropix_stream.monitor import texts
from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.runs import RunData


class RunLabel(NamedTuple):
    """A run in the list to choose from."""

    number: int
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """The stream as a whole, at one moment."""

    source: str
    state: State
    state_text: str
    doubt: str
    """Why the readouts may be of another kind than they are decoded as; empty if nothing says so."""
    age_s: float | None
    lag_s: float
    readouts_per_s: float
    hits_per_s: float
    daqs: tuple[Source, ...]
    runs: tuple[RunLabel, ...]
    references: tuple[RunLabel, ...]
    """Files to compare runs with."""
    relayed: bool
    ledger: Ledger


def make_status(accumulator: Accumulator, now: Moment) -> StreamStatus:
    """Say how the stream does."""
    state, age_s, reception = accumulator.state(now), accumulator.age_s(now), accumulator.reception
    readouts_per_s, hits_per_s = accumulator.rates.now(now.s)
    text = texts.state(state, age_s=age_s, lag_s=reception.lag_s, trouble=reception.trouble)
    if reception.ended:
        text = "; ".join(filter(None, [texts.FILE_ENDED, reception.trouble]))
    return StreamStatus(
        source=accumulator.source,
        state=state,
        state_text="; ".join(filter(None, [text, accumulator.doubt, *reception.ledger.remarks])),
        doubt=accumulator.doubt,
        age_s=age_s,
        lag_s=reception.lag_s,
        readouts_per_s=readouts_per_s,
        hits_per_s=hits_per_s,
        daqs=tuple(accumulator.sources(now)),
        runs=_run_labels(accumulator.runs, now),
        references=tuple(_label(run, now) for run in accumulator.references),
        relayed=accumulator.source.startswith("tcp:"),
        ledger=reception.ledger,
    )


def _run_labels(runs: Sequence[RunData], now: Moment) -> tuple[RunLabel, ...]:
    """Name the runs, the newest first; with their DAQ, if there are several."""
    several = len({run.source for run in runs}) > 1
    return tuple(_label(run, now, f", from {run.source}" * several) for run in reversed(runs))


def _label(run: RunData, now: Moment, source: str = "") -> RunLabel:
    count = numbers.counted(run.counts.readouts, "readout", group=True)
    return RunLabel(run.number, run.name, f"{run.title_at(now.ns)}{source}, {count}")
