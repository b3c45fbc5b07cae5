"""`apx monitor` is killed and started again: its runs are there, and the gap is accounted for."""

import json
import signal
import time
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("bokeh")

from astropix_relay.configuration.loading import load_config
from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.errors import ConfigError
from astropix_stream.monitor import saving
from astropix_stream.monitor.feed import Feed
from astropix_stream.monitor.saving import StateFile
from astropix_stream.url import parse_url
from integration.test_alarms import post, wait_until
from integration.test_monitor import APX, get, holds, monitor, state_when
from programs import Program
from relays import running
from unit.monitor.stream import Stream, moment


@pytest.fixture
def url(group, port):
    return f"udp://{group}:{port}?interface=127.0.0.1"


@pytest.fixture
def state(tmp_path):
    return tmp_path / "deep" / "monitor.state"


@pytest.fixture
def readouts():
    return [readout for _, readout in islice(Detector(seed=1).readouts(10**18), 600)]


def send(sender, readouts):
    for readout in readouts:
        sender.send_readout(readout)


@contextmanager
def quick_monitor(url, *options):
    """A monitor that saves twice a second."""
    code = (
        "import astropix_stream.monitor.saving as s; s.EVERY_S = 0.5; "
        "import astropix_stream.__main__ as m; m.main()"
    )
    argv = (APX[0], "-c", code, "monitor", url, "--listen", "127.0.0.1:0", *options)
    with Program(*argv) as program:
        yield program, program.wait_for("the page is at").removeprefix("the page is at ")


def shown_in_rates(page):
    """Readouts of the last ten minutes, a bin a second."""
    rates = json.loads(get(page, "/api/histograms.json"))["rates"]
    return round(sum(one["readouts_per_s"] for one in rates))


def run_of(page):
    return json.loads(get(page, "/api/state.json"))["run"]


def test_killed_and_started_again_on_a_group(url, sender, readouts, state):
    with quick_monitor(url, "--state", state) as (program, page):
        send(sender, readouts[:200])
        state_when(page, holds(200))
        post(page, "/api/notes.json", {"text": "beam on"})
        before = json.loads(get(page, "/api/histograms.json"))
        time.sleep(1.2)  # two saves
        program.send_signal(signal.SIGKILL)
        program.wait()
    send(sender, readouts[200:300])  # nobody is there
    with quick_monitor(url, "--state", state) as (program, page):
        after = json.loads(get(page, "/api/histograms.json"))
        assert after["hit_map"] == before["hit_map"]
        send(sender, readouts[300:400])
        run = state_when(page, holds(300))["run"]
        assert (run["first_id"], run["last_id"], run["since"]) == (0, 399, "since run start")
        assert (run["held"], run["lost_at"]) == (300, {"client_away": 100})
        assert run["live_fraction"] == 0.75
        wait_until(lambda: shown_in_rates(page) == 300)  # those of before, too
        assert [note["text"] for note in json.loads(get(page, "/api/notes.json"))] == ["beam on"]
        assert program.stop() == 0
    assert "100 while this program was not running" in program.stdout


@contextmanager
def running_relay(group, port, **more):
    text = f"""
streams: [{{group: {group}, port: {port}, interface: 127.0.0.1}}]
publish: {{endpoint: "tcp://127.0.0.1:0"}}
metrics: {{listen: null}}
"""
    with running(load_config(text)) as relay:
        yield relay.publisher.endpoint


def test_killed_and_started_again_at_a_relay(group, port, sender, readouts, state):
    """History has what was missed: nothing is lost, and nothing is counted twice."""
    with running_relay(group, port) as endpoint:
        with quick_monitor(endpoint, "--state", state) as (program, page):
            send(sender, readouts[:200])
            state_when(page, holds(200))
            time.sleep(1.2)
            send(sender, readouts[200:220])
            state_when(page, holds(220))
            program.send_signal(signal.SIGKILL)  # perhaps before those were saved
            program.wait()
        send(sender, readouts[220:300])
        with quick_monitor(endpoint, "--state", state) as (program, page):
            state_when(page, holds(300))
            send(sender, readouts[300:400])
            run = state_when(page, holds(400))["run"]
            assert (run["readouts"], run["held"], run["lost"]) == (400, 400, 0)
            assert (run["first_id"], run["last_id"]) == (0, 399)
            assert run["hits"] == sum(len(readout.decode()) for readout in readouts[:400])
            assert len(json.loads(get(page, "/api/state.json"))["runs"]) == 1


def test_what_the_relay_lost_meanwhile_is_counted(group, port, sender, readouts, state):
    with running_relay(group, port) as endpoint:
        with quick_monitor(endpoint, "--state", state) as (program, page):
            send(sender, readouts[:200])
            state_when(page, holds(200))
            time.sleep(2.2)  # a heartbeat, and a save
            program.send_signal(signal.SIGKILL)
            program.wait()
        send(sender, [*readouts[200:250], *readouts[260:300]])  # ten never come
        time.sleep(2.5)  # until the relay counts them as lost
        with quick_monitor(endpoint, "--state", state) as (program, page):
            send(sender, readouts[300:310])
            state_when(page, holds(300))
            run = state_when(page, lambda state: state["run"]["lost"])["run"]
            assert (run["held"], run["lost_at"]) == (300, {"before_socket": 10})


def test_a_clean_end_keeps_the_last_readout(url, sender, readouts, state):
    with monitor(url, "--state", state) as (program, page):
        send(sender, readouts[:50])
        state_when(page, holds(50))
        assert program.stop() == 0
    with monitor(url, "--state", state) as (program, page):
        assert run_of(page)["readouts"] == 50
        assert program.stop() == 0


def test_broken_and_newer_files_are_kept_aside(url, state):
    state.parent.mkdir()
    for content, said in (
        (b"nonsense", "it is not the state of a monitor"),
        (b"APXM\x09\x00" + bytes(8), "it is of a newer program: its format is 9, and this one knows 2"),
    ):
        state.write_bytes(content)
        with monitor(url, "--state", state) as (program, page):
            line = program.wait_for("is not taken up")
            assert said in line
            assert run_of(page) is None
            aside = Path(line.rpartition("it is kept as ")[2])
            assert aside.read_bytes() == content
            assert program.stop() == 0
    assert len(list(state.parent.glob("*.unreadable*"))) == 2
    assert "Traceback" not in program.stderr


def test_one_monitor_has_it(state):
    with StateFile(state):
        with pytest.raises(ConfigError, match="belongs to a monitor that runs; give this one --state FILE"):
            StateFile(state)
    with StateFile(state):
        pass


def test_the_usual_place(url, sender, readouts, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    with monitor(url) as (program, page):
        send(sender, readouts[:5])
        state_when(page, holds(5))
        ways = [parse_url(url)]
        assert saving.open_state(ways, None, wanted=True) is None, "the other one has it"
        assert "runs are not kept for the next start" in caplog.text
        assert program.stop() == 0
    (file,) = (tmp_path / "home" / "astropix").glob("*.state")
    with saving.open_state(ways, None, wanted=True) as state:
        assert state.path == file
        assert state.read(None).memory.runs[0].counts.readouts == 5
    assert saving.open_state(ways, None, wanted=False) is None


def test_wrong_options(url):
    ways = [parse_url(url)]
    with pytest.raises(ConfigError, match="--state and --no-state contradict each other: give one of them"):
        saving.open_state(ways, Path("s"), wanted=False)
    with pytest.raises(ConfigError, match="/proc/none/s: No such file or directory"):
        saving.open_state(ways, Path("/proc/none/s"), wanted=True)


def test_a_disk_that_is_full_is_told_once(monkeypatch, state, caplog):
    """And the next save is tried all the same."""
    feed = StandingFeed()
    with StateFile(state) as file:
        saver = saving.Saver(feed, file, dict)

        def full(content):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(file, "write", full)
        for _ in range(3):
            saver._save()
        assert caplog.text.count("the state is not saved") == 1
        assert "No space left on device" in caplog.text
        monkeypatch.undo()
        saver._save()
        assert "the state is saved again" in caplog.text
        first = state.stat().st_mtime_ns
        saver._save()
        assert state.stat().st_mtime_ns == first, "nothing changed, nothing is written"
        feed.stream.run(0, 5, 1.0)
        saver._save()
        assert file.read(None).memory.runs[0].counts.readouts == 5


class StandingFeed(Feed):
    """A stream that a test fills."""

    def __init__(self):
        self.stream = Stream()

    def look(self, at):
        return at(self.stream.accumulator, moment(10))


def test_a_file_has_no_state(tmp_path):
    with pytest.raises(ConfigError, match="a file is read again from its beginning"):
        saving.open_state([parse_url("run.apx")], tmp_path / "s", wanted=True)
    assert saving.open_state([parse_url("run.apx")], None, wanted=True) is None


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HOME": "/home/ana"}, "/home/ana/.local/state/astropix"),
        ({"HOME": "/home/ana", "XDG_STATE_HOME": "/s"}, "/s/astropix"),
        ({"HOME": "/home/ana", "XDG_STATE_HOME": "relative"}, "/home/ana/.local/state/astropix"),
        ({"STATE_DIRECTORY": "/var/lib/monitor:/other", "HOME": "/root"}, "/var/lib/monitor"),
    ],
)
def test_where_the_usual_place_is(environ, folder):
    paths = {saving.default_path([url], environ) for url in ("tcp://a:5556", "tcp://b:5556", "tcp://a:5556")}
    assert {str(path.parent) for path in paths} == {folder}
    assert len(paths) == 2, "one for each source"


def test_no_home_at_all():
    assert saving.default_path(["tcp://a:5556"], {}) is None
