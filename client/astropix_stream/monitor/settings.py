"""The file of ``apx monitor --config``: alarms and where to tell of them, checked as a whole. Pure.

config/monitor.yaml is the same for people, with every key explained.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from astropix_stream.checking.quantities import Duration, show
from astropix_stream.checking.rules import Finding, Rules

MAX_RULES = 50
MAX_TEXT = 60  # characters of a name


class When(StrEnum):
    """What an alarm looks at."""

    RATE = "rate"
    LOSS = "loss"
    SILENCE = "silence"
    HOT_PIXELS = "hot pixels"
    PROBLEMS = "decode problems"
    NO_CONNECTION = "no connection"


class Looks(BaseModel):
    """How a value of one kind is written, averaged and limited."""

    model_config = ConfigDict(frozen=True)

    unit: str
    over_s: float = 0.0
    """Seconds that it is taken over, unless the rule says otherwise; 0: it is that of the moment."""
    below: bool = False
    """Whether it may have a lower limit."""
    above: bool = True
    limit: float | None = None
    """The upper limit, unless the rule says otherwise."""


LOOKS = {
    When.RATE: Looks(unit="readouts/s", over_s=10.0, below=True),
    When.LOSS: Looks(unit="%", over_s=60.0, limit=0.0),
    When.SILENCE: Looks(unit="s", limit=30.0),
    When.HOT_PIXELS: Looks(unit="pixels", limit=0.0),
    When.PROBLEMS: Looks(unit="%", over_s=60.0),
    When.NO_CONNECTION: Looks(unit="", above=False),
}

_DURATION = Duration("0s", "24h")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?) ?%", re.ASCII)


def _limit(value: Any) -> float:
    """Read 12.5, '1 %' as 0.01, or '30s' as 30."""
    if isinstance(value, str):
        if match := _PERCENT.fullmatch(value):
            return float(match[1]) / 100
        try:
            return float(_DURATION.parse(value))
        except ValueError:
            raise ValueError(f"{show(value)} is not a limit: write a number, '1%' or '30s'") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
        raise ValueError(f"{show(value)} is not a limit: write a number, '1%' or '30s'")
    return float(value)


def _printable(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > MAX_TEXT:
        raise ValueError(f"{show(text)} is not a name: write 1 to {MAX_TEXT} characters on one line")
    return text


def _pixel(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?/[0-9]{1,4}/[0-9]{1,4}", text, re.ASCII):
        raise ValueError(f"{show(text)} is not a pixel: write chip/column/row, such as 0/9/3")
    return text


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not text.isprintable() or " " in text:
        raise ValueError(f"{show(text)} is not an address for a webhook: write https://HOST/PATH")
    return text


def _header(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"{show(text)} cannot be in an HTTP header")
    return text


Limit = Annotated[float | None, BeforeValidator(lambda value: None if value is None else _limit(value))]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Rule(_Section):
    """An alarm: what is looked at, its limits, and how long it must be beyond them."""

    when: When
    """What it looks at."""
    name: Annotated[str, AfterValidator(_printable)] | None = None
    """How it is called; by default after what it looks at."""
    below: Limit = None
    """Lower limit, of a rate."""
    above: Limit = None
    """Upper limit."""
    over: Annotated[float, Duration("2s", "10min")] | None = None
    """Time that a rate or a part is taken over."""
    raise_after: Annotated[float, Duration("0s", "24h")] = 0.0
    """How long it must be beyond a limit before the alarm is raised."""
    clear_after: Annotated[float, Duration("0s", "24h")] = 10.0
    """How long it must be within its limits before the alarm is cleared."""
    ignore: tuple[Annotated[str, AfterValidator(_pixel)], ...] = ()
    """Pixels, as chip/column/row, that are known to be hot."""

    @property
    def title(self) -> str:
        """Its name, or what it looks at with its limit."""
        return self.name or f"{self.when} {self.limits}".strip()

    @property
    def limit(self) -> float | None:
        """The upper limit in force."""
        return self.above if self.above is not None or self.below is not None else LOOKS[self.when].limit

    @property
    def over_s(self) -> float:
        """Seconds that its value is taken over; 0: of the moment."""
        return LOOKS[self.when].over_s if self.over is None else self.over

    @property
    def limits(self) -> str:
        """What it is held to: 'below 100 readouts/s'."""
        pairs = (("below", self.below), ("above", self.limit))
        words = [f"{word} {quantity(self.when, value)}" for word, value in pairs if value is not None]
        return " or ".join(words)


def quantity(when: When, value: float) -> str:
    """Write a value with its unit: '100 readouts/s', '1.5 %', '30 s', '2 pixels'."""
    unit = LOOKS[when].unit
    value = value * 100 if unit == "%" else value
    number = f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.3g}"
    return f"{number} {unit[:-1] if unit == 'pixels' and value == 1 else unit}".strip()


class Webhook(_Section):
    """Where to POST a JSON for each alarm that is raised or cleared."""

    url: Annotated[str, AfterValidator(_url)]
    """http:// or https://"""
    headers: dict[Annotated[str, AfterValidator(_header)], Annotated[str, AfterValidator(_header)]] = {}
    """Headers to send with it, such as Authorization."""
    timeout: Annotated[float, Duration("1s", "1min")] = 10.0
    """How long an attempt may take."""
    give_up_after: Annotated[float, Duration("1s", "24h")] = 3600.0
    """How long one that fails is tried again."""


def _unique(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    if len(rules) > MAX_RULES:
        raise ValueError(f"{len(rules)} alarms; at most {MAX_RULES}")
    return rules


class Settings(_Section):
    """What stands in the file."""

    alarms: Annotated[
        tuple[Rule, ...],
        BeforeValidator(lambda value: () if value is None else value),
        AfterValidator(_unique),
    ] = ()
    """The alarms."""
    webhook: Webhook | None = None
    """Where they are told."""


def contradictions(settings: Settings) -> Iterator[Finding]:
    """Yield what is wrong between keys that are each right."""
    titles: dict[str, int] = {}
    for i, rule in enumerate(settings.alarms):
        yield from ((_paths(i, key), message) for key, message in _of_rule(rule))
        if rule.title in titles:
            yield _paths(i, "name"), f"another alarm is called {show(rule.title)}; give one of them a name"
        titles[rule.title] = i


def _paths(index: int, key: str) -> list[tuple[str | int, ...]]:
    return [("alarms", index, key), ("alarms", index)]


def _of_rule(rule: Rule) -> Iterator[tuple[str, str]]:
    looks = LOOKS[rule.when]
    if rule.below is not None and not looks.below:
        yield "below", f"an alarm for {rule.when} has no lower limit; remove it"
    if rule.above is not None and not looks.above:
        yield "above", f"an alarm for {rule.when} has no limit; remove it"
    if rule.above is None and rule.below is None and looks.above and looks.limit is None:
        either = "'below' or 'above'" if looks.below else "'above'"
        yield "when", f"an alarm for {rule.when} needs a limit: {either}"
    if rule.below is not None and rule.above is not None and rule.above <= rule.below:
        yield "above", "the upper limit must be more than the lower one"
    if looks.unit == "%" and rule.above is not None and rule.above >= 1:
        yield "above", "a part is less than 1: write '1%' or 0.01"
    if rule.over is not None and not looks.over_s:
        yield "over", f"an alarm for {rule.when} looks at the moment; remove it"
    if rule.ignore and rule.when is not When.HOT_PIXELS:
        yield "ignore", "only an alarm for hot pixels ignores pixels"


SECTIONS: dict[str, type[BaseModel]] = {"alarms": Rule, "webhook": Webhook}
_RULES = Rules(Settings, SECTIONS, {}, contradictions, whole=("alarms", "webhook"))


def load_settings(text: str, *, file: str = "<config>") -> Settings:
    """Check a file's text as a whole.

    Raises
    ------
    ConfigMistakes
        A `ConfigError` with all mistakes at once, each with its line and column.
    """
    return _RULES.load(text, file=file)
