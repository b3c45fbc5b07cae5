"""What a program passes to a sender or a receiver, checked before anything is opened. Pure."""

import operator
from numbers import Real
from typing import Any

from astropix_stream.errors import ConfigError


def check_whole(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return a whole number from `low` to `high`; None sets no limit.

    Raises
    ------
    ConfigError
        It is something else; the text names the argument.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or number < low or (high is not None and number > high):
        wanted = f", {low} or more" if high is None else f" from {low} to {high}"
        raise ConfigError(f"{name} must be a whole number{wanted}, not {value!r}")
    return number


def check_seconds(name: str, value: Any) -> float | None:
    """Return a time in seconds, or None, which stands for any.

    Raises
    ------
    ConfigError
        It is something else, negative or not a number.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if value is None or (is_number and float(value) >= 0):
        return None if value is None else float(value)
    raise ConfigError(f"{name} must be seconds, 0 or more, or None, not {value!r}")
