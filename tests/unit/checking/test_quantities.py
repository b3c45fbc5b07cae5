"""Sizes and durations, as they are written and as they are read."""

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from astropix_stream.checking.quantities import Duration, Size

SIZES = TypeAdapter(Annotated[int, Size("0B", "1TiB")])
SECONDS = TypeAdapter(Annotated[float, Duration("0s", "24h")])


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("64MiB", 64 << 20),
        ("8 KiB", 8192),
        ("1GiB", 1 << 30),
        ("10MB", 10_000_000),
        ("1.5KiB", 1536),
        ("12B", 12),
        (12, 12),
        ("1kB", 1000),
        ("1.005GB", 1_005_000_000),
        ("0.29kB", 290),
    ],
)
def test_sizes(text, size_bytes):
    value = SIZES.validate_python(text)
    assert (value, type(value)) == (size_bytes, int)


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        ("2ms", 0.002),
        ("2.3ms", 0.0023),
        ("120s", 120),
        ("2min", 120),
        ("1h", 3600),
        ("50us", 5e-5),
        (3, 3),
        (0.5, 0.5),
    ],
)
def test_durations(text, duration_s):
    value = SECONDS.validate_python(text)
    assert (value, type(value)) == (duration_s, float)


@pytest.mark.parametrize(
    "wrong",
    [
        "2 sec",
        "2",
        "",
        "MiB",
        "2  s",
        "-1s",
        "1e3s",
        "٣s",
        "2s\n",
        True,
        None,
        [],
        "9" * 5000 + "s",
        float("nan"),
        "2S",
    ],
)
def test_what_is_no_duration(wrong):
    with pytest.raises(ValidationError):
        SECONDS.validate_python(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        "64mib",
        "64M",
        "64MiB per client",
        "8Mbit",
        "1_0MB",
        "٣MiB",
        "64 MiBs",
        1.0,
        "0.5B",
        -1,
        1 << 41,
        "2TiB",
        False,
        {},
    ],
)
def test_what_is_no_size(wrong):
    with pytest.raises(ValidationError):
        SIZES.validate_python(wrong)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0B"), (1 << 30, "1GiB"), (1536, "1536B"), (1 << 40, "1TiB"), (8 << 20, "8MiB")],
)
def test_sizes_are_written_with_the_largest_unit_that_divides(size_bytes, text):
    assert Size.format(size_bytes) == text


@given(st.integers(1, 1 << 40))
def test_sizes_come_back(size_bytes):
    assert SIZES.validate_python(SIZES.dump_python(size_bytes)) == size_bytes


@given(st.integers(1, 86_400_000_000))
def test_durations_come_back(microseconds):
    duration_s = microseconds / 1e6
    assert SECONDS.validate_python(SECONDS.dump_python(duration_s)) == duration_s
