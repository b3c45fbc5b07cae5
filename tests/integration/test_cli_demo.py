"""`apx demo`: the whole chain, as the first thing that a newcomer runs."""

import json
import signal
import sys
import urllib.request
from pathlib import Path

import pytest

from astropix_stream.cli.showing.demo_page import open_page
from network.hosts import wait_until
from programs import Program

APX = (sys.executable, "-m", "astropix_stream.cli")


def test_nothing_is_lost_on_either_way():
    with Program(*APX, "demo", "--seconds", "1.5", "--rate", "200", "--json") as program:
        assert program.wait() == 0, str(program)
    *_, last = map(json.loads, program.stdout.splitlines())
    assert last["sent"] > 100
    for way in ("multicast", "relay"):
        assert (last[way]["readouts"], last[way]["lost"]) == (last["sent"], 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_a_summary_and_leaves_no_relay(number):
    with Program(*APX, "demo", "--no-page") as program:
        program.wait_for("through the relay: ")
        (relay,) = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        assert b"astropix_relay" in Path(f"/proc/{relay}/cmdline").read_bytes()
        assert program.stop(number) == 0, str(program)
    assert "through the relay: " in program.stdout.splitlines()[-1]
    assert "nothing lost" in program.stdout.splitlines()[-1]
    assert not Path(f"/proc/{relay}").exists()


def test_without_the_relay_program_it_says_so(tmp_path):
    """An astropix_relay that cannot be run stands in the way of the real one."""
    (tmp_path / "astropix_relay").mkdir()
    (tmp_path / "astropix_relay" / "__init__.py").write_text("raise SystemExit('no relay today')")
    with Program(*APX, "demo", "--seconds", "1", env={"PYTHONPATH": str(tmp_path)}) as program:
        assert program.wait() == 1
    assert program.stderr == "apx: the relay did not start: no relay today\n"


def test_the_live_page_shows_what_the_demo_sends():
    pytest.importorskip("bokeh")
    with Program(*APX, "demo", "--rate", "200") as program:
        page = program.wait_for("the live page: ").removeprefix("the live page: ")
        wait_until(lambda: (run := state(page)["run"]) and run["readouts"] > 100 and not run["lost"])
        assert program.stop() == 0, str(program)
    with pytest.raises(OSError, match="refused"):
        state(page)


def state(page):
    with urllib.request.urlopen(f"{page}/api/state.json", timeout=5) as answer:
        return json.load(answer)


def test_a_page_that_cannot_be_says_why():
    with open_page("tcp://nowhere") as page:
        assert page.where().startswith("not there: ")
        assert "nowhere" in page.where()
