"""Alarms of `apx monitor`: a webhook on a real server that misbehaves, the program, and notes."""

import contextlib
import http.server
import json
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

pytest.importorskip("bokeh")

from astropix_stream.monitor import webhook
from astropix_stream.monitor.settings import Webhook
from astropix_stream.monitor.webhook import Courier
from integration.test_monitor import APX, get, holds, monitor, send, state_when
from programs import TIMEOUT, Program


class Server:
    """Takes what is posted; answers as told: a status, or None to say nothing until it ends."""

    def __init__(self, *answers, port=0):
        self.answers = list(answers)
        self.got = []
        self.headers = []
        self.tries = 0
        self.ended = threading.Event()
        self._changed = threading.Condition()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = outer.note(json.loads(body), dict(self.headers))
                if answer is None:
                    outer.ended.wait(TIMEOUT)
                    return
                self.send_response(answer)
                if answer == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        class Http(http.server.ThreadingHTTPServer):
            daemon_threads = False
            block_on_close = True

        self.http = Http(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=[0.02])
        self.thread.start()

    @property
    def port(self):
        return self.http.server_address[1]

    @property
    def webhook(self):
        return Webhook(url=f"http://127.0.0.1:{self.port}/hook", timeout=1.0)

    def note(self, message, headers):
        with self._changed:
            self.tries += 1
            answer = self.answers.pop(0) if self.answers else 200
            if answer is not None and 200 <= answer < 300:
                self.got.append(message)
                self.headers.append(headers)
            self._changed.notify_all()
            return answer

    def wait_for(self, condition):
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), TIMEOUT), (self.tries, self.got)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    monkeypatch.setattr(webhook, "_FIRST_PAUSE_S", 0.05)


@pytest.fixture
def lines():
    return []


@contextmanager
def courier(where, lines):
    one = Courier(where, lines.append)
    try:
        yield one
    finally:
        one.close()


def told(courier):
    """How it goes with the webhook, without its address."""
    said = courier.to_json()
    return said["delivered"], said["waiting"], said["given_up"]


def wait_until(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_messages_are_delivered_in_order(lines):
    with Server() as server, courier(server.webhook, lines) as one:
        for i in range(20):
            one.send({"number": i})
        server.wait_for(lambda s: len(s.got) == 20)
        assert [message["number"] for message in server.got] == list(range(20))
        assert server.headers[0]["Content-Type"] == "application/json"
        assert server.headers[0]["User-Agent"].startswith("astropix-stream/")
        wait_until(lambda: told(one) == (20, 0, 0))
    assert lines == []


@pytest.mark.parametrize("answers", [[500, 503, 429], [None, 500]], ids=["answers 500", "slow"])
def test_what_fails_is_tried_again(lines, answers):
    with Server(*answers) as server, courier(server.webhook, lines) as one:
        began_s = time.monotonic()
        one.send({"number": 1})
        one.send({"number": 2})
        assert time.monotonic() - began_s < 0.2, "nobody waits for it"
        server.wait_for(lambda s: len(s.got) == 2)
        assert [message["number"] for message in server.got] == [1, 2]
        assert server.tries == len(answers) + 2
        wait_until(lambda: told(one) == (2, 0, 0))
    assert len(lines) == 2, lines
    assert lines[1].endswith("is reached again")


def test_nobody_listens_there(lines):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with courier(Webhook(url=f"http://127.0.0.1:{port}/secret?token=x"), lines) as one:
        one.send({"number": 1})
        wait_until(lambda: one.to_json()["trouble"])
        assert told(one) == (0, 1, 0)
        with Server(port=port) as server:
            server.wait_for(lambda s: s.got == [{"number": 1}])
    assert "refused" in lines[0]
    assert "secret" not in "".join(lines), "the path of a webhook is a password"


def test_a_request_that_is_wrong_is_not_repeated(lines):
    with Server(404, 302) as server, courier(server.webhook, lines) as one:
        for i in range(3):
            one.send({"number": i})
        server.wait_for(lambda s: len(s.got) == 1)
        assert server.got == [{"number": 2}]
        assert server.tries == 3, "a redirection is not followed"
        wait_until(lambda: told(one) == (1, 0, 2))
    assert "it answers 404" in lines[0]
    assert "not tried again" in lines[0]


def test_it_gives_up_in_the_end(lines):
    with Server(*[500] * 1000) as server:
        hook = server.webhook.model_copy(update={"give_up_after": 0.2})
        with courier(hook, lines) as one:
            one.send({"number": 1})
            wait_until(lambda: told(one) == (0, 0, 1))


def test_what_waits_is_bounded(lines, monkeypatch):
    monkeypatch.setattr(webhook, "MAX_WAITING", 5)
    monkeypatch.setattr(webhook, "_GRACE_S", 0.1)
    with Server(*[500] * 1000) as server, courier(server.webhook, lines) as one:
        for i in range(50):
            one.send({"number": i})
        assert one.to_json()["waiting"] == 5
        assert one.to_json()["given_up"] == 45
        server.wait_for(lambda s: s.tries)
    assert lines[-1] == "5 messages on alarms were not delivered to the webhook"


def test_another_address(lines):
    with Server(*[500] * 1000) as old, Server() as new, courier(old.webhook, lines) as one:
        one.send({"number": 1})
        old.wait_for(lambda s: s.tries)
        one.replace(new.webhook)
        new.wait_for(lambda s: s.got == [{"number": 1}])
        one.replace(None)
        assert one.to_json() is None
        one.send({"number": 2})


RULES = """
alarms:
  - {when: silence, name: DAQ silent, above: 2s, clear_after: 0s}
  - {when: hot pixels, ignore: [0/9/3]}
"""


def alarms(page):
    return json.loads(get(page, "/api/alarms.json"))


def post(page, path, body, **headers):
    """Return status and text of an answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(page + path, data, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def url(group, port):
    return f"udp://{group}:{port}?interface=127.0.0.1"


def test_the_program_raises_alarms_and_tells_them(url, sender, tmp_path):
    file = tmp_path / "monitor.yaml"
    with Server(500) as server:
        file.write_text(f"{RULES}webhook: {{url: 'http://127.0.0.1:{server.port}/hook'}}\n")
        with monitor(url, "--config", file) as (program, page):
            server.wait_for(lambda s: s.got)
            send(sender, 100)
            server.wait_for(lambda s: len(s.got) > 1)
            said = alarms(page)
            assert program.stop() == 0
    raised, cleared = server.got[:2]
    assert (raised["event"], raised["alarm"], raised["when"]) == ("raised", "DAQ silent", "silence")
    assert raised["text"].startswith(f"{url}: alarm raised: DAQ silent: no readout for")
    assert cleared["event"] == "cleared"
    assert [one["event"] for one in reversed(said["log"])][:2] == ["raised", "cleared"]
    assert [one["alarm"] for one in said["alarms"]] == ["DAQ silent", "hot pixels above 0 pixels"]
    assert said["webhook"]["host"] == f"http://127.0.0.1:{server.port}"
    assert "alarm raised: DAQ silent: no readout for" in program.stderr
    assert "Traceback" not in program.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP")
def test_the_file_is_read_again(url, tmp_path):
    file = tmp_path / "monitor.yaml"
    file.write_text(RULES)
    with monitor(url, "--config", file) as (program, page):
        wait_until(lambda: alarms(page)["raised"] == 1)
        file.write_text("alarms:\n- when: silense\n- when: lost\n")
        program.send_signal(signal.SIGHUP)
        program.wait_for("monitor.yaml:2:9: alarms[0].when: 'silense' is not one of")
        said = alarms(page)
        assert "the alarms stay as they were" in said["trouble"]
        assert "(and 1 more mistake" in said["trouble"]
        assert said["raised"] == 1
        file.write_text("alarms: [{when: loss}]\n")
        program.send_signal(signal.SIGHUP)
        program.wait_for("was read again: 1 alarm")
        said = alarms(page)
        assert (said["trouble"], said["raised"]) == ("", 0)
        assert said["log"][0]["text"] == "its rule was changed or removed"
        file.unlink()
        program.send_signal(signal.SIGHUP)
        program.wait_for("No such file or directory")
        assert [one["alarm"] for one in alarms(page)["alarms"]] == ["loss above 0 %"]
        assert program.stop() == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alarms: [{when: rate}]", "alarms[0].when: an alarm for rate needs a limit: 'below' or 'above'"),
        (None, "No such file or directory"),
        (b"\xff\xfe", "not a text in UTF-8"),
        ("#" * (2 << 20), "more than 1 MiB"),
    ],
)
def test_a_wrong_file_is_told_in_a_line(url, tmp_path, text, said):
    file = tmp_path / "monitor.yaml"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with Program(*APX, "monitor", url, "--listen", "127.0.0.1:0", "--config", file) as program:
        assert program.wait() == 2
    assert said in program.stderr
    assert str(file) in program.stderr
    assert len(program.stderr.splitlines()) == 1


def test_notes(url, sender):
    with monitor(url) as (_, page):
        send(sender, 10)
        state_when(page, holds(10))
        evil = "<img src=x onerror=alert(1)>\nsecond line"
        status, text = post(page, "/api/notes.json", {"text": evil, "author": "Ana"}, Origin=page)
        assert status == 201
        note = json.loads(text)
        assert (note["text"], note["author"]) == (evil, "Ana")
        assert note["run_of"]
        assert json.loads(get(page, "/api/notes.json")) == [note]
        post(page, "/api/notes.json", {"text": "=1+1"})
        table = get(page, "/api/notes.csv").splitlines()
        assert table[0] == "time,author,text,run_of"
        assert "'=1+1" in table[-1], "no spreadsheet takes it for a formula"
        assert post(page, "/api/notes.json", {"text": ""}) == (400, "write something into the note\n")
        assert post(page, "/api/notes.json", {"text": "x" * 1001})[0] == 400
        assert post(page, "/api/notes.json", b"[" * 5000)[0] == 400
        with contextlib.suppress(OSError):  # the server reads no more than it may, and hangs up
            assert post(page, "/api/notes.json", b"x" * (1 << 20))[0] in (400, 413)
        assert post(page, "/api/notes.json", {"text": "x"}, **{"Content-Type": "text/plain"})[0] == 415
        assert len(json.loads(get(page, "/api/notes.json"))) == 2


def test_no_other_website_writes_notes(url):
    with monitor(url) as (_, page):
        note = {"text": "x"}
        assert post(page, "/api/notes.json", note, Origin="http://evil.example")[0] == 403
        assert post(page, "/api/notes.json", note, Origin="null")[0] == 403
        assert post(page, "/api/notes.json", note, Host="evil.example")[0] == 403
        cross = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
        assert post(page, "/api/notes.json", note, **cross)[0] == 403
        assert json.loads(get(page, "/api/notes.json")) == []
        answers = [post(page, "/api/notes.json", note)[0] for _ in range(20)]
        assert set(answers) == {201, 429}, "so many at once, and no more"


def test_all_that_is_shown_in_one_file(url, sender, tmp_path):
    h5py, uproot = pytest.importorskip("h5py"), pytest.importorskip("uproot")
    with monitor(url, "--snapshot", tmp_path / "snapshots", "--every", "600") as (program, page):
        hits = send(sender, 100)
        state_when(page, holds(100))
        post(page, "/api/notes.json", {"text": "beam on"})
        for name in ("root", "hdf5"):
            with urllib.request.urlopen(
                f"{page}/api/page.{name}?tot_bins=50&panel=chips", timeout=TIMEOUT
            ) as answer:
                assert answer.headers["Content-Disposition"].endswith(f'.{name}"')
                (tmp_path / f"page.{name}").write_bytes(answer.read())
        head = urllib.request.Request(f"{page}/api/page.root", method="HEAD")
        with urllib.request.urlopen(head, timeout=TIMEOUT) as answer:
            assert (answer.status, answer.read()) == (200, b"")
        assert program.stop() == 0
    with h5py.File(tmp_path / "page.hdf5") as file:
        assert file["maps/hits"][:].sum() == hits
        assert file["notes"]["text"][0] == b"beam on"
        assert len(file["tot"]) == 50
        assert file["chips"]["hits"].sum() == hits  # of the part that is open
    with (tmp_path / "page.root").open("rb") as opened, uproot.open(opened) as file:
        assert file["hit_map"].values().sum() == hits
        assert file["tables/chips"]["hits"].array(library="np").sum() == hits
    (numbers,) = (tmp_path / "snapshots").glob("*.json")
    assert [note["text"] for note in json.loads(numbers.read_text())["notes"]] == ["beam on"]
    table = (tmp_path / "snapshots" / "astropix_notes.csv").read_text().splitlines()
    assert table[0] == "time,author,text,run_of"
    assert ",beam on," in table[1]
