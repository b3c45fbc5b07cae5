"""Alarms: what is beyond its limits, for how long, and what is told of it. Pure: readings in, events out.

An alarm is *raised* once its value was beyond a limit for `raise_after`, and *cleared* once it was within for
`clear_after`. A value that is not known, such as a rate over ten seconds in the first five, changes nothing.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from astropix_stream import numbers
from astropix_stream.clock import Moment
from astropix_stream.counting.state import State
from astropix_stream.monitor.settings import Rule, When, quantity

MAX_LOG = 1000
"""Events that are kept; the oldest go."""
_LISTED = 3  # hot pixels in a sentence
_CUT_OFF = (State.NO_NETWORK, State.NO_LOG, State.UPSTREAM_LOST)


class Reading(NamedTuple):
    """The stream at one moment, as far as alarms look at it.

    Attributes
    ----------
    now
        The moment.
    state, state_text
        As the page says it.
    age_s
        Age of the last readout; before any, how long the monitor waits for one.
    rates
        Readouts in each of the last whole seconds, the latest last.
    held, lost
        Readouts that came and were lost so far; their growth is looked at. Not what no monitor was there for.
    run, decoded, faulty
        Number of the present run, its decoded readouts, and those with each decode problem.
    hot
        Hot pixels as a person writes them, those with most hits first.
    """

    now: Moment
    state: State
    state_text: str
    age_s: float
    rates: Sequence[float]
    held: int
    lost: int
    run: int
    decoded: int
    faulty: Sequence[int]
    hot: Sequence[str]


@dataclass(frozen=True)
class Event:
    """An alarm that was raised or cleared.

    Attributes
    ----------
    number
        Counts the events of this monitor, so that who is told twice knows it.
    at_ns
        When, ns since the Unix epoch.
    raised
        Or cleared.
    alarm, when
        Its name, and what it looks at.
    text
        A sentence on it.
    value
        What it was; None where there is none, or where it is not known.
    since_ns
        When it was raised.
    """

    number: int
    at_ns: int
    raised: bool
    alarm: str
    when: str
    text: str
    value: float | None
    since_ns: int

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "number": self.number,
            "event": "raised" if self.raised else "cleared",
            "alarm": self.alarm,
            "when": self.when,
            "text": self.text,
            "value": self.value,
            "time": numbers.iso(self.at_ns),
            "since": numbers.iso(self.since_ns),
        }


class Finding(NamedTuple):
    """What a rule found: its value, in words, and whether that is beyond a limit; None where not known."""

    value: float | None
    text: str
    beyond: bool | None


@dataclass
class _Watched:
    """A rule, and how it is with it."""

    rule: Rule
    beyond_since_s: float | None = None
    within_since_s: float | None = None
    raised_ns: int | None = None
    finding: Finding = field(default=Finding(None, "not known yet", None))


class _Samples:
    """Readings of the last ten minutes, to look at what grew in some time.

    They are kept without rates, which each has for ten minutes, and without hot pixels: 13 MiB otherwise.
    """

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque(maxlen=700)

    def add(self, reading: Reading) -> None:
        self._readings.append(reading._replace(rates=(), hot=()))

    def before(self, over_s: float) -> Reading | None:
        """Return the latest reading that is so old; None while there is none."""
        limit = self._readings[-1].now.s - over_s
        return next((one for one in reversed(self._readings) if one.now.s <= limit), None)

    def begin_of_run(self, over_s: float) -> Reading | None:
        """Return the oldest reading of the present run in that time."""
        last = self._readings[-1]
        found = None
        for one in reversed(self._readings):
            if one.run != last.run or one.now.s < last.now.s - over_s:
                break
            found = one
        return found


class Alarms:
    """The rules, how it is with each, and a log of what was raised and cleared.

    Parameters
    ----------
    rules
        What to look at.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._watched = [_Watched(rule) for rule in rules]
        self._samples = _Samples()
        self._count = 0
        self.log: deque[Event] = deque(maxlen=MAX_LOG)

    def __bool__(self) -> bool:
        return bool(self._watched)

    def replace(self, rules: Iterable[Rule], now: Moment) -> list[Event]:
        """Take other rules; those that stay the same go on. Return the alarms that this clears."""
        before = {watched.rule: watched for watched in self._watched}
        self._watched = [before.pop(rule) if rule in before else _Watched(rule) for rule in rules]
        return [
            self._tell(gone, now, raised=False, text="its rule was changed or removed")
            for gone in before.values()
            if gone.raised_ns is not None
        ]

    def step(self, reading: Reading) -> list[Event]:
        """Look at the stream; return the alarms that this raises and clears."""
        self._samples.add(reading)
        events = []
        for watched in self._watched:
            watched.finding = look(watched.rule, reading, self._samples)
            events += self._follow(watched, reading.now)
        return events

    def _follow(self, watched: _Watched, now: Moment) -> list[Event]:
        rule, finding = watched.rule, watched.finding
        if finding.beyond is None:
            return []
        if finding.beyond:
            watched.within_since_s = None
            if watched.beyond_since_s is None:
                watched.beyond_since_s = now.s
            if watched.raised_ns is None and now.s - watched.beyond_since_s >= rule.raise_after:
                watched.raised_ns = now.ns
                return [self._tell(watched, now, raised=True, text=finding.text)]
            return []
        watched.beyond_since_s = None
        if watched.within_since_s is None:
            watched.within_since_s = now.s
        if watched.raised_ns is not None and now.s - watched.within_since_s >= rule.clear_after:
            event = self._tell(watched, now, raised=False, text=finding.text)
            watched.raised_ns = None
            return [event]
        return []

    def _tell(self, watched: _Watched, now: Moment, *, raised: bool, text: str) -> Event:
        self._count += 1
        rule, value = watched.rule, watched.finding.value
        since_ns = now.ns if watched.raised_ns is None else watched.raised_ns
        event = Event(self._count, now.ns, raised, rule.title, rule.when.value, text, value, since_ns)
        self.log.append(event)
        return event

    @property
    def raised(self) -> list[tuple[str, str, int]]:
        """Name, words and time of each alarm that is raised now."""
        return [
            (watched.rule.title, watched.finding.text, watched.raised_ns)
            for watched in self._watched
            if watched.raised_ns is not None
        ]

    def rules_to_json(self) -> list[dict[str, Any]]:
        """Return each rule and how it is with it, for programs and the page."""
        return [_status(watched) for watched in self._watched]

    def to_json(self) -> dict[str, Any]:
        """Return what a monitor that is started again needs to go on: what is raised, and the log."""
        raised = {w.rule.title: w.raised_ns for w in self._watched if w.raised_ns is not None}
        return {"raised": raised, "log": [vars(event) for event in self.log], "count": self._count}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on where another one ended.

        Raises
        ------
        ValueError, TypeError, KeyError, AttributeError
            It is not what `to_json` gives.
        """
        log = [_checked(Event(**one)) for one in saved["log"]][-MAX_LOG:]
        raised = {str(name): int(at_ns) for name, at_ns in saved["raised"].items()}
        self._count = int(saved["count"])
        self.log.extend(log)
        for watched in self._watched:
            watched.raised_ns = raised.get(watched.rule.title)


def _checked(event: Event) -> Event:
    """Take an event of a file only if its texts are texts, and its numbers numbers."""
    texts, whole = (event.alarm, event.when, event.text), (event.number, event.at_ns, event.since_ns)
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in whole):
        raise ValueError("no event of an alarm")
    if event.value is not None and not isinstance(event.value, int | float):
        raise ValueError("no event of an alarm")
    return event


def _status(watched: _Watched) -> dict[str, Any]:
    rule, finding = watched.rule, watched.finding
    if watched.raised_ns is not None:
        state = "raised"
    elif finding.beyond is None:
        state = "unknown"
    else:
        state = "pending" if finding.beyond else "ok"
    hold = f" for {numbers.duration(rule.raise_after)}" if rule.raise_after else ""
    return {
        "alarm": rule.title,
        "when": rule.when.value,
        "rule": f"{rule.when} {rule.limits}".strip() + hold,
        "state": state,
        "text": finding.text,
        "value": finding.value,
        "since": None if watched.raised_ns is None else numbers.iso(watched.raised_ns),
    }


def look(rule: Rule, reading: Reading, samples: _Samples) -> Finding:
    """Return what a rule finds."""
    match rule.when:
        case When.RATE:
            return _judge(rule, *_rate(rule, reading))
        case When.LOSS:
            return _judge(rule, *_loss(rule, reading, samples))
        case When.SILENCE:
            return _judge(rule, reading.age_s, f"no readout for {numbers.age(reading.age_s)}")
        case When.HOT_PIXELS:
            return _judge(rule, *_hot(rule, reading))
        case When.PROBLEMS:
            return _judge(rule, *_problems(rule, reading, samples))
        case When.NO_CONNECTION:
            return Finding(None, reading.state_text, reading.state in _CUT_OFF)


def _judge(rule: Rule, value: float | None, text: str) -> Finding:
    if value is None:
        return Finding(None, text, None)
    too_low = rule.below is not None and value < rule.below
    too_high = rule.limit is not None and value > rule.limit
    return Finding(round(value, 6), text, too_low or too_high)


def _over(rule: Rule) -> str:
    return f"over {numbers.age(rule.over_s)}"


def _rate(rule: Rule, reading: Reading) -> tuple[float | None, str]:
    seconds = int(rule.over_s)
    if len(reading.rates) < seconds:
        return None, f"less than {numbers.age(rule.over_s)} are known"
    value = float(np.mean(reading.rates[-seconds:]))
    return value, f"{quantity(When.RATE, value)} {_over(rule)}"


def _loss(rule: Rule, reading: Reading, samples: _Samples) -> tuple[float | None, str]:
    before = samples.before(rule.over_s) or samples.begin_of_run(rule.over_s)
    if before is None or before.now == reading.now:
        return None, "not known yet"
    held, lost = reading.held - before.held, reading.lost - before.lost
    value = max(0, lost) / (max(0, held) + lost) if lost > 0 else 0.0
    counted = numbers.counted(max(0, lost), "readout", group=True)
    return value, f"{quantity(When.LOSS, value)} lost {_over(rule)}: {counted}"


def _hot(rule: Rule, reading: Reading) -> tuple[float, str]:
    found = [pixel for pixel in reading.hot if pixel not in rule.ignore]
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    listed = ", ".join(found[:_LISTED]) + more
    return len(found), f"{numbers.counted(len(found), 'hot pixel')}" + (f": {listed}" if found else "")


def _problems(rule: Rule, reading: Reading, samples: _Samples) -> tuple[float | None, str]:
    before = samples.begin_of_run(rule.over_s)
    if before is None or reading.decoded <= before.decoded:
        return None, "no readout was decoded"
    decoded = reading.decoded - before.decoded
    faulty = [now - then for now, then in zip(reading.faulty, before.faulty, strict=True)]
    value = max(faulty, default=0) / decoded
    return value, f"{quantity(When.PROBLEMS, value)} with a decode problem {_over(rule)}"
