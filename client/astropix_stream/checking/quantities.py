"""Sizes and durations as a person writes them (`8MiB`, `120s`): pydantic annotations that give plain numbers.

::

    queue: Annotated[int, Size("256KiB", "1GiB")] = 8 << 20
    delay: Annotated[float, Duration("0s", "100ms")] = 0.001

The attribute is a number of bytes (int) or seconds (float). `model_dump` and the JSON schema's defaults
write it with its unit again.
"""

import re
from fractions import Fraction
from typing import Any, ClassVar

from pydantic import ByteSize, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema

# pydantic knows what a unit is worth. By itself ByteSize is too lenient for a configuration: it reads
# '64MiB per client' as 64 MiB, '0.5B' as 0 (which can mean off), and 1.005GB as a byte less, through a float.
# It has no counterpart for durations: pydantic's are written PT2M or 00:02:00, not 120s.
_bytes = TypeAdapter(ByteSize).validate_python

_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"


class _Quantity:
    """A number with a unit, within bounds; `or_zero` allows 0 below the lower bound, meaning off."""

    KIND: ClassVar[type[int] | type[float]]
    UNITS: ClassVar[dict[str, Fraction]]
    BASE: ClassVar[str]
    WRITTEN: ClassVar[tuple[str, ...]]  # units to write with, from the largest
    EXAMPLES: ClassVar[str]

    def __init__(self, low: str, high: str, *, or_zero: bool = False) -> None:
        self.low, self.high = self._number(low), self._number(high)
        self.or_zero = or_zero

    def parse(self, value: object) -> int | float:
        """Return bytes or seconds; ValueError with what is allowed."""
        number = self._number(value)
        if not (self.low <= number <= self.high or (self.or_zero and number == 0)):
            zero = ", or 0" if self.or_zero else ""
            raise ValueError(f"{value} is not from {self.format(self.low)} to {self.format(self.high)}{zero}")
        return self.KIND(number)

    @classmethod
    def _number(cls, value: object) -> Fraction | int | float:
        # A float may be inf or nan, which a Fraction cannot; the bounds refuse them.
        if isinstance(value, cls.KIND | int) and not isinstance(value, bool):
            return value
        match = re.fullmatch(cls._pattern(), value, re.ASCII) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"{show(value)} is not a {cls.__name__.lower()}: write {cls.EXAMPLES}")
        number = Fraction(match[1]) * cls.UNITS[match[2]]
        if cls.KIND is int and number.denominator != 1:
            raise ValueError(f"{value} is not a whole number of bytes")
        return number

    @classmethod
    def format(cls, value: Fraction | int | float) -> str:
        """Write a number with the largest unit that divides it."""
        number = Fraction(str(value))
        fitting = (unit for unit in cls.WRITTEN if number and (number / cls.UNITS[unit]).denominator == 1)
        unit = next(fitting, cls.BASE)
        count = number / cls.UNITS[unit]
        return f"{count}{unit}" if count.denominator == 1 else f"{float(count):.9f}{unit}"

    @classmethod
    def _pattern(cls) -> str:
        return rf"({_NUMBER}) ?({'|'.join(cls.UNITS)})"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(self.format)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        low = 0 if self.or_zero else self.KIND(self.low)
        number = {"type": "integer" if self.KIND is int else "number", "minimum": low}
        text = {"type": "string", "pattern": f"^{self._pattern()}$"}
        return {"anyOf": [text, number | {"maximum": self.KIND(self.high)}]}


class Size(_Quantity):
    """Bytes: `64MiB`, `8 KiB`, `10MB`, or a plain number of bytes."""

    KIND = int
    BASE = "B"
    UNITS: ClassVar = {
        unit: Fraction(_bytes(f"1{unit}")) for unit in ("B", "kB", "KiB", "MB", "MiB", "GB", "GiB", "TiB")
    }
    WRITTEN = ("TiB", "GiB", "MiB", "KiB", "B")
    EXAMPLES = "'64MiB', '8 KiB' or '10MB'"


class Duration(_Quantity):
    """Seconds: `2ms`, `120s`, `2min`, `1h`, or a plain number of seconds."""

    KIND = float
    BASE = "s"
    UNITS: ClassVar = {
        "us": Fraction(1, 10**6),
        "ms": Fraction(1, 10**3),
        "s": Fraction(1),
        "min": Fraction(60),
        "h": Fraction(3600),
    }
    WRITTEN = ("h", "min", "s", "ms", "us")
    EXAMPLES = "'2s', '2ms' or '1min'"


def show(value: object) -> str:
    """Return a value for a message, as YAML would write it: ASCII, on one line, at most 60 characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
