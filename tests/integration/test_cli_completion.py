"""What the shells offer, asked as they do, with a real bash and a real relay."""

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from astropix_relay.configuration.loading import default_config
from relays import running

APX = shutil.which("apx", path=os.path.dirname(sys.executable))

pytestmark = pytest.mark.skipif(APX is None, reason="apx is not installed beside this Python")


def offered(line, *, shell="bash", folder=None):
    """Return what the shell offers at the end of a line."""
    if shell == "zsh":
        environ = {"_TYPER_COMPLETE_ARGS": line, "_APX_COMPLETE": "complete_zsh"}
        done = subprocess.run([APX], env=os.environ | environ, capture_output=True, text=True, check=True)
        return done.stdout
    # Readline splits the words; `compgen` and the like do not show how, so bash itself does it here.
    script = (
        'eval "$(apx --show-completion bash)"\n'
        "COMP_LINE=$1 COMP_POINT=${#1}\n"
        'python3 - "$1" <<\'E\' > "$2"\n'
        "import re, sys\n"
        "words = re.findall(r\"'[^']*'?|[:=]+|[^\\s:=']+\", sys.argv[1])\n"
        "words += [''] if sys.argv[1][-1:] in ' :=' else []\n"
        "print('\\n'.join(words), end='')\n"
        "E\n"
        'mapfile -t COMP_WORDS < "$2"\n'
        "[[ ${1: -1} == [\\ :=] ]] && COMP_WORDS+=('')\n"
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n"
        "_apx_completion apx\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    path = f"{os.path.dirname(APX)}:{os.environ['PATH']}"
    words = folder / "words" if folder else "/dev/null"
    done = subprocess.run(
        ["bash", "-c", script, "bash", line, str(words)],
        env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True, cwd=folder,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture
def bash(tmp_path):
    return lambda line: offered(line, folder=tmp_path)


@pytest.fixture
def endpoint(group, port):
    config = default_config(group=group, port=port, interface="127.0.0.1", publish="tcp://127.0.0.1:0")
    stream = config.streams[0]
    streams = [stream, stream.model_copy(update={"name": "other", "group": "239.1.2.3"})]
    with running(config.model_copy(update={"streams": streams})) as relay:
        yield relay.publisher.endpoint


def test_the_streams_of_a_relay_that_answers(endpoint, bash):
    port = endpoint.rpartition(":")[2]
    assert bash(f"apx receive {endpoint}") == [f"{port}?stream=astropix", f"{port}?stream=other"]
    assert bash(f"apx top {endpoint}?stream=o") == ["other"]
    assert bash(f"apx record {endpoint}?str") == [f"{port}?stream="]
    assert bash(f"apx monitor '{endpoint}?stream=a") == [f"{endpoint}?stream=astropix"]
    zsh = offered(f"apx receive {endpoint}?stream=", shell="zsh")
    assert "?stream=astropix" in zsh
    assert "?stream=other" in zsh


@pytest.mark.parametrize("where", ["127.0.0.1:1", "240.0.0.1:5556", "no.such.host.invalid:5556", "silent"])
def test_a_relay_that_does_not_answer_costs_a_moment_and_no_word(where, bash):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        where = where.replace("silent", f"127.0.0.1:{silent.getsockname()[1]}")
        began_s = time.monotonic()
        assert bash(f"apx receive tcp://{where}?stream=") == []
        waited_s = time.monotonic() - began_s
        nothing_s = time.monotonic()
        assert bash("apx receive udp://239.1.1.1:5007?stream=") == []
        assert waited_s < time.monotonic() - nothing_s + 5


def test_interfaces_kinds_and_starts(bash):
    assert "lo" in bash("apx send --interface l")
    assert "lo" in bash("apx receive udp://239.1.1.1:5007?interface=l")
    assert bash("apx receive --kind astropix4") == ["astropix4"]
    assert bash("apx monitor tcp://relay:5556 --start ") == ["oldest", "live"]
    assert bash("apx receive nats://log?start=o") == ["oldest"]


def test_schemes_and_files(bash, tmp_path):
    (tmp_path / "udp.apx").touch()
    (tmp_path / "data").mkdir()
    assert bash("apx receive u") == ["udp://", "udp.apx"]
    assert bash("apx receive da") == ["data/"]
    assert bash("apx rec") == ["receive", "record"]
