"""A signal in the first moments of a command is obeyed, and leaves no traceback."""

import signal
import subprocess
import sys
import time

import pytest

# Nothing answers there: without a signal it would go on for ten seconds.
WAITING = ["receive", "tcp://127.0.0.1:9", "--timeout", "10"]

# As in any import, but certain: the exception of the signal falls into a weakref's callback, which drops it.
IN_A_CALLBACK = """
import os, signal, sys, weakref
from astropix_stream import cli
from astropix_stream.cli.terminal import ending

class Lock:
    pass

def callback(_):
    os.kill(os.getpid(), signal.{name})
    for _ in range(100):
        pass

ending.prepare()
lock = Lock()
reference = weakref.ref(lock, callback)
del lock
sys.exit(cli.run({words!r}))
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_one_whose_exception_is_dropped_is_obeyed(name):
    program = IN_A_CALLBACK.format(name=name, words=WAITING)
    begin_s = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert time.monotonic() - begin_s < 5
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr
    assert done.returncode in (0, 130)


def has_begun(process):
    """Whether our first instruction has run: from then on a signal is ours to obey."""
    with open(f"/proc/{process.pid}/status") as status:
        caught = next(line for line in status if line.startswith("SigCgt:"))
    return not int(caught.split()[1], 16) >> (signal.SIGINT - 1) & 1  # Python itself has begun by catching it


@pytest.fixture(params=["apx", "astropix-relay", "astropix-bridge"])
def waiting(request, group, port, tmp_path):
    """Return each command with arguments with which it goes on until it is asked to end."""
    config = tmp_path / "quiet.yaml"
    config.write_text("metrics: {listen: null}\n")
    if request.param == "apx":
        words = ["astropix_stream", *WAITING]
    elif request.param == "astropix-relay":
        joined = ["--group", group, "--port", port, "--interface", "127.0.0.1"]
        words = ["astropix_relay", "run", "--config", config, *joined, "--publish", "tcp://127.0.0.1:0"]
    else:
        nobody = ["--from", "tcp://127.0.0.1:9", "--nats", "nats://127.0.0.1:9"]
        words = ["astropix_bridge", "run", "--config", config, *nobody]
    return [sys.executable, "-m", *map(str, words)]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells when it has begun")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5])
def test_one_in_the_first_moments_is_obeyed(waiting, number, after_s):
    with subprocess.Popen(waiting, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        seen_caught = False
        while not (seen_caught and has_begun(process)):
            seen_caught = seen_caught or not has_begun(process)
            time.sleep(0.001)
        time.sleep(after_s)
        process.send_signal(number)
        _, err = process.communicate(timeout=5)
    assert "Traceback" not in err
    # CPython remembers a KeyboardInterrupt that passed through exec(), which dataclasses use, although it was
    # caught: it then ends by SIGINT, which a shell shows as 130, too.
    assert process.returncode in (-number, -signal.SIGINT, 0, 130)
