"""`apx conformance` with clients that are right, in three languages, and with clients that are not."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import examples
from examples import CLIENTS, EXAMPLES
from ports import free_port_pair

APX = (sys.executable, "-m", "astropix_stream.cli", "conformance")
SUBSCRIBER = (EXAMPLES / "subscriber.py").read_text()

# What is broken in examples/subscriber.py: edits, the scene that shows it, the section that is named.
BROKEN = {
    "overlaps are not trimmed": (
        [("readouts[self.expected - sequence :]", "readouts")], "overlap", "numbers"
    ),
    "a heartbeat shows no gap": (
        [("self.seen = max(self.seen, sequence)\n", "pass\n")], "tail-gap", "heartbeats"
    ),
    "it subscribes to data alone": (
        [('("apx/hello", f"apx/{name}/beat", topic)', '("apx/hello", topic)')], "tail-gap", "heartbeats"
    ),
    "other versions are read": ([(" or version != 1", "")], "unknown-things", "what-to-ignore"),
    "a restart is not seen": (
        [("elif relay_id != self.relay_id:", "elif False:")], "restart-at-12", "a-restarted-relay"
    ),
    "ids over a restart are not followed": (
        [("if source in self.resumed:", "if False:")], "restart-step", "a-restarted-relay"
    ),
    "what the new relay published is counted twice": (
        [("// self.stride - self.missed)", "// self.stride)")],
        "restart-at-2-with-a-step", "a-restarted-relay",
    ),
    "the stride is not taken": (
        [('self.name, {}).get("stride", 1)', 'self.name, {}).get("", 1)')],
        "restart-stride-in-hello", "a-restarted-relay",
    ),
    "the first account is not subtracted": (
        [("self.base = self.base or self.latest", "self.base = self.base or dict.fromkeys(self.latest, 0)")],
        "account", "accounts",
    ),
    "request_id 0": ([('b"APXQ", 1, 1, self.ids', 'b"APXQ", 1, 1, 0')], "history", "request-one-frame"),
    "what is gone is not lost": (
        [("self.lose(min(max(begin, end), until))", "pass")], "history-gone", "recovering"
    ),
    "it asks too often": ([("HELD = 5.0, 2.0", "HELD = 5.0, 0.3")], "answer-lost", "recovering"),
    "it asks again on the same socket": (
        [("self.history.close()\n                self.history = None", "pass")], "answer-lost", "recovering"
    ),
    "it waits too long for a page": ([("2.0, 5.0, 0.1", "2.0, 50.0, 0.1")], "no-answer", "recovering"),
    "it does not connect again": ([("= 5.0, 2.0", "= 50.0, 2.0")], "silence", "silence"),
    "it connects again too soon": ([("= 5.0, 2.0", "= 2.0, 2.0")], "pause", "silence"),
    "sleep is taken for silence": (
        [
            ("min(time.monotonic() - before, 2 * TURN_S)", "time.monotonic() - self.began - self.now"),
            ("while self.live.poll(0):", "while self.now - self.heard <= SILENT_S and self.live.poll(0):"),
            ("self.now = self.heard = 0.0\n", "self.now = self.heard = 0.0; self.began = time.monotonic()\n"),
        ],
        "sleep", "silence",
    ),
    "it prints no report": ([("print(line, flush=True)", "pass")], "in-order", "clients-in-other-languages"),
}  # fmt: skip


def conform(command, *options):
    """Let `apx conformance` try a client; return its exit code and what it says of each scene."""
    endpoint = f"tcp://127.0.0.1:{free_port_pair()}"
    words = [*APX, endpoint, "--json", *options, "--", *command, endpoint]
    done = subprocess.run(words, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Let all clients run side by side, as a scene is mostly waiting; return what came of each."""
    folder = tmp_path_factory.mktemp("clients")
    with ThreadPoolExecutor(12) as pool:
        started = {}
        for name, build in CLIENTS.items():
            (folder / name).mkdir()
            started[name] = pool.submit(lambda build, name: conform(build(folder / name)), build, name)
        for name, (edits, scene, _) in BROKEN.items():
            program = folder / f"{name}.py"
            text = SUBSCRIBER
            for old, new in edits:
                assert text.count(old) == 1, old
                text = text.replace(old, new)
            program.write_text(text)
            started[name] = pool.submit(conform, [sys.executable, str(program)], "--scene", scene)
    return started


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_that_is_right(runs, name):
    try:
        code, scenes = runs[name].result()
    except examples.Missing as error:
        examples.skip_or_fail(error)
    assert [scene for scene in scenes if not scene["ok"]] == []
    assert code == 0
    assert len(scenes) > 30


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", BROKEN)
def test_a_client_that_is_wrong_is_told_the_section(runs, name):
    code, (scene,) = runs[name].result()
    _, of, section = BROKEN[name]
    assert (code, scene["scene"], scene["ok"]) == (1, of, False)
    assert section in [fault["section"] for fault in scene["faults"]]


def test_a_client_that_is_piped_into_it():
    endpoint = f"tcp://127.0.0.1:{free_port_pair()}"
    client = subprocess.Popen([*examples.in_pyzmq(None), endpoint], stdout=subprocess.PIPE)
    try:
        words = [*APX, endpoint, "--scene", "gap"]
        done = subprocess.run(
            words, stdin=client.stdout, capture_output=True, text=True, timeout=60, check=False
        )
    finally:
        client.kill()
        client.stdout.close()
        client.wait()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].split() == ["gap", "ok"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say where to listen: tcp://127.0.0.1:5556"),
        (["tcp://127.0.0.1:5556"], "without a CLIENT to start, name one scene"),
        (["tcp://127.0.0.1:5556", "--scene", "sleep"], "the scene 'sleep' stops the client"),
        (["tcp://127.0.0.1:5556", "--scene", "nope"], "there is no scene 'nope'"),
        (["tcp://127.0.0.1:65535", "--", "true"], "with a PORT below 65535"),
        (["udp://239.1.1.1:5007", "--", "true"], "is not tcp://HOST:PORT"),
        (["tcp://127.0.0.1:5556", "--scene", "gap", "--", "/no/such"], "cannot start /no/such: No such file"),
    ],
)
def test_wrong_input_is_said_in_one_line(words, said):
    done = subprocess.run(
        [*APX, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_an_endpoint_in_use_is_said():
    import zmq

    with zmq.Context() as context, context.socket(zmq.XPUB) as sock:
        port = free_port_pair()
        sock.bind(f"tcp://127.0.0.1:{port}")
        words = [*APX, f"tcp://127.0.0.1:{port}", "--scene", "gap", "--", "true"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"cannot listen on tcp://127.0.0.1:{port}: Address already in use" in done.stderr
    assert "(see `ss -tlnp`)" in done.stderr


def test_the_scenes_are_listed():
    done = subprocess.run([*APX, "--list"], capture_output=True, text=True, check=True)
    assert "gap                         Messages are missing in the middle." in done.stdout
    done = subprocess.run([*APX, "--list", "--json"], capture_output=True, text=True, check=True)
    assert {"scene", "shows", "live"} == set(json.loads(done.stdout.splitlines()[0]))
