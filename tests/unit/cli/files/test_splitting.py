"""When a recording goes on in a new file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.batch import Batch, Source
from astropix_stream.cli.files.splitting import Splitting, parse_splitting
from astropix_stream.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Splitting()),
        (["source"], Splitting()),
        (["runs"], Splitting(runs=True)),
        (["1GiB"], Splitting(size=2**30)),
        (["1.5 MB"], Splitting(size=1.5e6)),
        (["1h"], Splitting(seconds=3600)),
        (["90s", "runs", "10KiB"], Splitting(True, 10240, 90)),
    ],
)
def test_splitting(words, expected):
    assert parse_splitting(words) == expected


@pytest.mark.parametrize("word", ["run", "", "1", "GiB", "0s", "1 parsec", "-1h", "1h30"])
def test_no_splitting(word):
    with pytest.raises(ConfigError, match="write runs, source, a size as 1GiB or a time as 1h"):
        parse_splitting([word])


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(0, 60), st.integers(1, 200), st.data()
)
def test_what_still_fits_is_as_much_as_can_be(sizes, size, limit, data):
    begin = data.draw(st.integers(0, len(sizes)))
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    batch = Batch(Source("10.0.1.1", 1), 0, bytes(ends[-1]), range(len(sizes)), [0] * len(sizes), ends)
    end = Splitting(size=limit).fitting(batch, begin, size)
    fits = [to for to in range(begin, len(sizes) + 1) if size + sum(sizes[begin:to]) <= limit]
    if fits:
        assert end == max(fits)
    else:
        assert end <= begin  # not even what is there
    assert Splitting().fitting(batch, begin, size) == len(sizes)


def test_a_file_is_over_when_its_time_is():
    splitting = Splitting(seconds=90)
    assert [splitting.is_over(age_s) for age_s in (0, 89.9, 90, 91)] == [False, False, True, True]
    assert not Splitting().is_over(1e9)
