"""`apx monitor` as a program, on the loopback interface, asked as scripts ask it."""

import http.client
import json
import re
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

import pytest

pytest.importorskip("bokeh")

from astropix_relay.configuration.loading import load_config
from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.fmt import ASTEP, AstroPix4Readout, pair_half_hits
from astropix_stream.monitor import guard
from programs import TIMEOUT, Program
from relays import running

APX = (sys.executable, "-m", "astropix_stream.cli")


@pytest.fixture
def url(group, port):
    return f"udp://{group}:{port}?interface=127.0.0.1"


@contextmanager
def monitor(url, *options):
    """Run the page; give its program and its address."""
    with Program(*APX, "monitor", url, "--listen", "127.0.0.1:0", *options) as program:
        yield program, program.wait_for("the page is at").removeprefix("the page is at ")


def get(page, path, **headers):
    with urllib.request.urlopen(
        urllib.request.Request(page + path, headers=headers), timeout=TIMEOUT
    ) as answer:
        return answer.read().decode()


def state_when(page, condition):
    """Ask for the state until it is as it should be; the feed turns four times a second."""
    deadline = time.monotonic() + TIMEOUT
    while not condition(state := json.loads(get(page, "/api/state.json"))):
        assert time.monotonic() < deadline, state
        time.sleep(0.05)
    return state


def holds(count):
    return lambda state: state["run"] is not None and state["run"]["readouts"] >= count


def send(sender, count, seed=1):
    """Send simulated readouts; return the hits that are in them."""
    readouts = [readout for _, readout in islice(Detector(seed=seed).readouts(10**18), count)]
    for readout in readouts:
        sender.send_readout(readout)
    return sum(len(readout.decode()) for readout in readouts)


def test_the_numbers_are_those_that_were_sent(url, sender):
    with monitor(url) as (program, page):
        hits = send(sender, 500)
        run = state_when(page, holds(500))["run"]
        assert (run["readouts"], run["hits"], run["lost"], run["live_fraction"]) == (500, hits, 0, 1.0)
        assert (run["first_id"], run["last_id"], run["since"]) == (0, 499, "since run start")
        histograms = json.loads(get(page, "/api/histograms.json?tot_to=800"))
        assert sum(map(sum, histograms["hit_map"])) == hits
        assert sum(histograms["tot"]) + histograms["tot_outside"] == hits
        assert sum(histograms["per_readout"]) == 500
        assert program.stop() == 0
    said = f"{hits:,}".replace(",", "\u202f")
    last = program.stdout.splitlines()[-1]
    assert re.match(r"run of (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d: ", last)
    assert last.endswith(
        f": 500 readouts, {said} hits. This page holds all the run's readouts since run start."
    )


def test_losses_are_told(url, sender):
    with monitor(url) as (_, page):
        for i in [*range(100), *range(110, 300)]:
            sender.send_readout(AstroPix4Readout(b"\xbc", i, 10**18 + i))
        state = state_when(page, lambda state: holds(290)(state) and state["run"]["lost"])
        assert state["run"]["lost_at"] == {"before_socket": 10}
        assert state["state"] == "losing"


def test_tables_for_spreadsheets(url, sender):
    with monitor(url) as (_, page):
        hits = send(sender, 50)
        state_when(page, holds(50))
        text = get(page, "/api/hit_map.csv?chip=0&masked=0/1/1")
        rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
        assert rows[0] == ["column", "row", "hits", "mean_tot_us", "masked"]
        assert sum(int(row[2]) for row in rows[1:] if row[:2] != ["1", "1"]) <= hits
        assert "# live_fraction: 1.0" in text.splitlines()
        assert "# masked: 0/1/1" in text.splitlines()


WRONG = [
    ("/api/state.json?chip=99", 400, "chip: '99' is not a chip: chips are 0 to 31"),
    ("/api/state.json?nonsense=1", 400, "nonsense: there is no such setting"),
    ("/api/state.json?run=%25d", 400, "run: '%d' is not a run: write the time of its first readout, in UTC, "
     "such as 20250723T120211.123Z"),
    ("/api/state.json?run=77", 404, "there is no run 77, or it is no longer kept"),
    ("/api/tot.csv?run=0", 404, "there is no run 0, or it is no longer kept"),
    ("/api/tot.csv?run=20250723T120211.123Z", 404,
     "there is no run 20250723T120211.123Z, or it is no longer kept"),
    ("/api/tot.csv?compare=77", 404, "there is no other run 77 of this kind of readouts"),
    ("/api/tot.csv?tot_to=900&tot_bins=nan", 400,
     "tot_bins: write a number; tot_to: 900 is out of range: 0.2 to 819.2"),
    ("/api/tot.csv?tot_bins=1.5", 400, "tot_bins: 1.5 is not a whole number"),
    ("/api/page.root?panel=none", 400, "panel: 'none' is not one of 'overview', 'chips', 'pixel', "
     "'spectrum', 'correlations' or 'readouts'"),
    ("/api/nonsense.csv", 404, "there is no /api/nonsense.csv; docs/monitor.md has what there is"),
    ("/api", 404, "there is no /api; docs/monitor.md has what there is"),
    ("/api/../etc/passwd", 404, "there is no /api/../etc/passwd; docs/monitor.md has what there is"),
    ("/autoload.js", 404, "this is not served; there are / and /api"),
    ("/assets/../server.py", 403, None),
]  # fmt: skip


def test_what_is_not_there(url):
    with monitor(url) as (_, page):
        host = page.removeprefix("http://")
        for path, code, said in WRONG:
            status, body = ask(host, "GET", path)
            assert (path, status) == (path, code)
            assert said is None or body.decode() == f"{said}\n"
            assert ask(host, "HEAD", path) == (code, b"")


def ask(host, method, path, headers=None):
    """Return the status and the body of an answer."""
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
    connection.request(method, path, headers=headers or {})
    answer = connection.getresponse()
    status, body = answer.status, answer.read()
    connection.close()
    return status, body


def test_methods(url):
    with monitor(url) as (_, page):
        host = page.removeprefix("http://")
        for path in ("/", "/api/state.json", "/api/tot.csv", "/assets/monitor.css"):
            assert ask(host, "HEAD", path) == (200, b"")
            status, body = ask(host, "GET", path)
            assert status == 200
            assert body
        allowed = "GET, HEAD, OPTIONS"
        for path, also in (
            ("/", ""),
            ("/api/state.json", ""),
            ("/assets/monitor.css", ""),
            ("/api/notes.json", ", POST"),
        ):
            for method, code in (("OPTIONS", 204), ("DELETE", 405)):
                connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
                connection.request(method, path)
                with connection.getresponse() as answer:
                    assert (answer.status, answer.headers["Allow"]) == (code, allowed + also)
                    assert b"<html" not in answer.read()
                connection.close()


def test_the_query_of_a_page_is_that_of_a_file(url, sender):
    """With the part that is open, and whatever concerns the page alone."""
    with monitor(url) as (_, page):
        send(sender, 50)
        state_when(page, holds(50))
        histograms = json.loads(get(page, "/api/histograms.json?theme=dark&panel=chips&chip=&tot_from="))
        assert histograms["tables"]["chips"]["chip"] == [0]
        assert sum(histograms["tables"]["chip_maps"]["hits"]) == sum(map(sum, histograms["hit_map"]))


class TestWhoMaySeeIt:
    def test_a_page_of_another_site_gets_nothing(self, url):
        """One whose name was made to point here (DNS rebinding) asks with that name."""
        with monitor(url, "--allow-origin", "daq.lab.example") as (_, page):
            assert get(page, "/api/state.json")
            assert get(page, "/api/state.json", Host="daq.lab.example")
            for path in ("/api/state.json", "/api/tot.csv"):
                with pytest.raises(urllib.error.HTTPError, match="403") as caught:
                    get(page, path, Host="evil.example")
                caught.value.close()

    @pytest.mark.parametrize("name", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example"])
    def test_no_route_answers_to_another_name(self, url, name):
        with monitor(url) as (_, page):
            host = page.removeprefix("http://")
            name = name.format(port=host.rpartition(":")[2])
            upgrade = {"Origin": f"http://{name}", "Connection": "Upgrade", "Upgrade": "websocket"}
            for path in ("/", "/ws", "/api/state.json", "/static/js/bokeh.min.js", "/assets/monitor.css"):
                status, body = ask(host, "GET", path, {"Host": name, **(upgrade if path == "/ws" else {})})
                assert (status, body.decode()) == (403, f"{guard.NOT_OURS}\n")

    def test_other_sites_may_link_here_but_not_load_it(self, url):
        with monitor(url) as (_, page):
            host = page.removeprefix("http://")
            picture = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
            assert ask(host, "GET", "/", picture)[0] == 403
            link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
            assert ask(host, "GET", "/", link)[0] == 200

    def test_loads_in_a_flood_are_bounded(self, url):
        with monitor(url) as (_, page):
            host = page.removeprefix("http://")
            with ThreadPoolExecutor(40) as pool:
                codes = list(pool.map(lambda _: ask(host, "GET", "/")[0], range(40)))
            assert codes.count(200) >= guard.LOADS
            assert 503 in codes
            assert ask(host, "GET", "/api/state.json")[0] == 200

    @pytest.mark.parametrize(
        ("origin", "code"), [("http://evil.example", 403), ("http://daq.lab.example", 101)]
    )
    def test_websockets_from_elsewhere(self, url, origin, code):
        with monitor(url, "--allow-origin", "https://daq.lab.example/") as (_, page):
            host = page.removeprefix("http://")
            token = get(page, "/").partition('"token":"')[2].partition('"')[0]
            connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
            connection.request("GET", "/ws", headers={
                "Connection": "Upgrade", "Upgrade": "websocket", "Origin": origin,
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Protocol": f"bokeh, {token}",
            })  # fmt: skip
            answer = connection.getresponse()
            assert answer.status == code
            answer.close()
            connection.close()

    def test_not_from_outside_without_an_origin(self, url):
        with Program(*APX, "monitor", url, "--listen", "0.0.0.0:5006") as program:
            assert program.wait() == 2
        assert "--allow-origin" in program.stderr
        assert len(program.stderr.splitlines()) == 1


MISTAKES = [
    (["--listen", "5006"], "127.0.0.1:5006"),
    (["--listen", "127.0.0.1:"], "127.0.0.1:5006"),
    (["--listen", "127.0.0.1:99999"], "127.0.0.1:5006"),
    (["--allow-origin", "no host"], "monitor.example.org"),
    (["--every", "0"], "'0' is not a number above 0"),
    (["--start", "yesterday"], "'yesterday' is not oldest, live or a number of readouts"),
    (["--snapshot", "/dev/null/x"], "/dev/null"),
]


@pytest.mark.parametrize(("options", "said"), MISTAKES)
def test_mistakes_are_told_in_one_line(url, options, said):
    with Program(*APX, "monitor", url, *options) as program:
        assert program.wait() == 2, str(program)
    lines = [line for line in program.stderr.splitlines() if not line.startswith("receiving")]
    assert len(lines) == 1
    assert said in lines[0]


def test_a_port_that_is_taken(url):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Program(*APX, "monitor", url, "--listen", f"127.0.0.1:{port}") as program:
            assert program.wait() == 1
    assert f"cannot listen on 127.0.0.1:{port}" in program.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(url, number):
    with monitor(url) as (program, _):
        assert program.stop(number) == 0, str(program)
    assert "Traceback" not in program.stderr


def test_json_for_programs(url, sender):
    with Program(*APX, "monitor", url, "--listen", "127.0.0.1:0", "--json") as program:
        page = json.loads(program.wait_for('{"page"'))["page"]
        send(sender, 10)
        state_when(page, holds(10))
        assert program.stop() == 0
    assert json.loads(program.stdout.splitlines()[-1])["run"]["readouts"] == 10


class TestSnapshots:
    def test_with_neither_page_nor_browser(self, url, sender, tmp_path):
        out = tmp_path / "logbook"
        with Program(*APX, "monitor", url, "--no-page", "--snapshot", out, "--every", "0.5") as program:
            program.wait_for("receiving")
            hits = send(sender, 100)
            pictures = self.wait_for_two(out)
            assert program.stop() == 0
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
        numbers = json.loads(max(out.glob("*.json")).read_text())
        assert (numbers["state"]["run"]["readouts"], numbers["state"]["run"]["hits"]) == (100, hits)
        assert sum(map(sum, numbers["histograms"]["hit_map"])) == hits
        assert {path.suffix for path in out.iterdir()} == {".png", ".json"}  # no half written ones

    @staticmethod
    def wait_for_two(out):
        deadline = time.monotonic() + TIMEOUT
        while len(found := sorted(out.glob("*.png"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return found

    def test_a_directory_that_went_away_does_not_end_the_page(self, url, tmp_path):
        out = tmp_path / "logbook"
        with monitor(url, "--snapshot", out, "--every", "0.2") as (program, page):
            out.rename(tmp_path / "moved")
            out.write_text("in the way")
            program.wait_for("no snapshot")
            assert get(page, "/api/state.json")
            assert program.stop() == 0

    def test_a_directory_that_was_deleted_is_made_again(self, url, tmp_path):
        out = tmp_path / "logbook"
        with monitor(url, "--snapshot", out, "--every", "0.2") as (program, _):
            self.wait_for_two(out)
            out.rename(tmp_path / "moved")
            program.wait_for(f"the folder {out} was deleted; it is made again")
            self.wait_for_two(out)
            assert program.stop() == 0


def test_the_page_has_the_kind_that_the_relay_says(group, port, sender):
    """Chips in layers, half hits and pixels, without a word from the person who opens the page."""
    stream = {"name": "astep", "group": group, "port": port, "interface": "127.0.0.1", "readout_uid": 3100}
    config = {"streams": [stream], "publish": {"endpoint": "tcp://127.0.0.1:0"}, "metrics": {"listen": None}}
    detector = Detector(seed=1, kind=ASTEP, chips=12)
    readouts = [readout for _, readout in islice(detector.readouts(10**18), 300)]
    hits = sum(len(readout.decode()) for readout in readouts)
    half_hits = [hit for readout in readouts for hit in readout.hits()]  # a pixel may be in two readouts
    pixels = len(pair_half_hits(half_hits, ASTEP.pixel_rule)[0])
    with running(load_config(json.dumps(config))) as relay, monitor(relay.publisher.endpoint) as (_, page):
        state_when(page, lambda state: state["state"] == "quiet" and "connected" in state["state_text"])
        for readout in readouts:
            sender.send_readout(readout)
            time.sleep(0.0005)  # paces a load; nothing waits for it
        state = state_when(page, holds(300))
        assert state["kind"] == {"uid": 3100, "name": "A-STEP"}
        histograms = json.loads(get(page, "/api/histograms.json"))
        assert histograms["chips"] == [f"{layer}.{chip}" for layer in (1, 2, 3) for chip in range(4)]
        assert (state["run"]["hits"], histograms["pixels"]) == (hits, pixels)
        assert sum(map(sum, histograms["hit_map"])) == pixels
        assert sum(histograms["rows"]) + sum(histograms["columns"]) == hits
        chip = json.loads(get(page, "/api/histograms.json?chip=2.3&tot_of=halves"))
        of_chip = [hit for one in readouts for hit in one.hits() if (hit.layer, hit.chip_id) == (2, 3)]
        assert sum(chip["tot"]) + chip["tot_outside"] == len(of_chip) > 0
        with pytest.raises(urllib.error.HTTPError, match="400"):
            get(page, "/api/histograms.json?chip=3")
