"""Each benchmark once, tiny, so that it cannot rot. No test asserts a time."""

import sys

import pytest

from bench.chain import TESTS
from bench.code_rows import decode_plainly, real_run
from bench.relay_rows import Search
from bench.run import BENCHMARKS
from bench.scale import TINY
from programs import Program


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs(name, tmp_path):
    for row in BENCHMARKS[name](TINY, tmp_path):
        assert row.ours
        assert row.cells()


@pytest.mark.parametrize("highest", [1e3, 7e4, 1.7e5, 2.9e5])
def test_a_search_finds_the_highest_rate_wherever_it_is(highest):
    search = Search(1e5, 3e5)
    while not search.is_done:
        search.learn(search.rate, search.rate <= highest)
    assert search.low <= highest <= 1.15 * search.low


def test_a_search_ends_where_the_source_is_no_faster():
    search = Search(1e5, 3e5)
    search.learn(1.2e5, whole=True)
    assert (search.is_done, search.low) == (True, 1.2e5)


def test_the_plain_decoder_finds_the_same_hits():
    readouts, _ = real_run()
    names = ("chip_id", "row", "column", "ts_dec1", "ts_dec2", "tot_us")
    for readout in readouts:
        hits = decode_plainly(readout.data())
        assert [[hit[name] for name in names] for hit in hits] == [
            hit.attribute_values(names) for hit in readout.decode()
        ]


def test_the_page_and_its_plot(tmp_path):
    words = ("--tiny", "--only", "decode", "growth", "--output", tmp_path)
    with Program(sys.executable, "-m", "bench.run", *words, env={"PYTHONPATH": str(TESTS)}) as program:
        assert program.wait(timeout=110) == 0, program.stderr
    assert "decode()" in (tmp_path / "performance.md").read_text()
    assert "<svg" in (tmp_path / "performance.svg").read_text()
