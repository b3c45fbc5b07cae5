"""Any text can be written in any encoding."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.cli.terminal import encoding


def written(text, name):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=name, newline="")
    encoding.replace_unknown(stream)
    stream.write(text)
    stream.flush()
    return stream.buffer.getvalue().decode(name)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("12\u202f345 readouts…", "ascii", "12 345 readouts..."),
        ("2 µs × 3 – é", "ascii", "2 us x 3 - e"),
        ("2 µs × 3 – é", "latin-1", "2 µs × 3 - é"),
        ("│ x ━━ █", "cp1252", "| x -- #"),
        ("✔ ✘ ? ←", "ascii", "+ x ? <-"),
        ("░▒▓█", "latin-1", ".:*#"),
        ("run 検.apx", "cp437", "run ?.apx"),
        ("run 検.apx", "utf-8", "run 検.apx"),
        ("run \udcff.apx", "utf-8", "run ?.apx"),  # a file's name that is not UTF-8
    ],
)
def test_what_is_missing_is_replaced(text, name, expected):
    assert written(text, name) == expected


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["ascii", "latin-1", "cp1252", "cp437"]),
)
def test_anything_can_be_written(text, name):
    shown = written(text, name)
    assert len(shown) >= len(text.encode("ascii", "ignore"))


def test_what_is_not_writing_stays_an_error():
    encoding.replace_unknown()
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("ascii", encoding.ERRORS)
