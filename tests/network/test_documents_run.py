"""Every block of code in the documents: programs run, commands and their options exist, YAML is valid."""

import re
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import typer.main

from astropix_relay.command import app as relay_app
from astropix_relay.configuration.loading import load_config, schema
from astropix_stream import cli
from astropix_stream.fileio import FileHeader, apx_open
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.monitor.settings import load_settings
from network.test_documented_programs import SOURCE

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = {"commands.md", "troubleshooting.md", "configuration.md", "performance.md"}

# Not programs by themselves: a line to put into one. Their names are looked at below all the same.
FRAGMENTS = {"docs/operating.md"}

RELAY = "from astropix_relay.command import app; app(['run', '--group', '239.1.1.1', '--publish', 'tcp://*:5556'])"
SENDER = f"""{SOURCE}
from astropix_stream.sock import MulticastSender
sender = MulticastSender()
while True:
    sender.send_readout(readout)
"""


def blocks(language):
    found = []
    for document in DOCUMENTS:
        name = str(document.relative_to(ROOT))
        pattern = rf"^( *)```{language}\n(.*?)^ *```$"
        for indent, text in re.findall(
            pattern, document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        ):
            lines = (line.removeprefix(indent) for line in text.splitlines(keepends=True))
            found.append(pytest.param(name, "".join(lines), id=f"{name}-{len(found)}"))
    return found


@pytest.fixture
def host(lab):
    """A host on which a DAQ sends and a relay publishes; everything stays on its loopback interface."""
    host = lab.host("alone")
    host.ip("link set lo up multicast on")
    host.ip("route add 224.0.0.0/4 dev lo")
    return host


@pytest.mark.parametrize(("document", "program"), blocks("python"))
def test_a_program_runs(host, document, program, tmp_path):
    if document in FRAGMENTS:
        compile(program, document, "exec")
        return
    # Names of hosts that the reader has.
    program = re.sub(r"tcp://relay(-[ab])?:5556", "tcp://127.0.0.1:5556", program)
    prelude = f"import os; os.chdir({str(tmp_path)!r})\n{SOURCE}"
    with apx_open(tmp_path / "run.apx", "wb", FileHeader(AstroPix4Readout, {"threshold_mV": 200})) as run:
        run.write(AstroPix4Readout(bytes.fromhex("e08056e80da85403"), 0, 1).to_bytes())
    sends = "send_readout" in program and "receive" not in program
    with host.start_python(RELAY) as relay, host.start_python("pass" if sends else SENDER):
        relay.wait_for("publishing on")
        with ExitStack() as opened:
            if sends:  # perhaps for a moment only
                listener = opened.enter_context(host.start_python(LISTENER))
                listener.wait_for("listening")
            running = opened.enter_context(host.start_python(prelude + program))
            if sends:
                listener.wait_for("heard")
            elif "print(" in program:
                running.wait_for("\n")
            else:
                assert running.process.wait(20) == 0
            assert running.process.poll() in (None, 0)
            assert "Traceback" not in running.stderr


LISTENER = """
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.sock import MulticastReceiver
with MulticastReceiver(AstroPix4Readout, timeout=10) as receiver:
    receiver.wait_ready()
    print("listening", flush=True)
    receiver.receive()
    print("heard", flush=True)
"""


def commands():
    """Yield each apx and astropix-relay command of the documents, as words."""
    for block in blocks("sh"):
        document, text = block.values
        if Path(document).name in GENERATED:
            continue
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and (words[0] in ("sudo", "exec") or words[0].startswith("~/")):
                words[0] = Path(words[0]).name
                if words[0] not in ("apx", "astropix-relay"):
                    words = words[1:]
                    break
            if words and words[0] in ("apx", "astropix-relay"):
                yield pytest.param(words, id=line.strip()[:60])


@pytest.mark.parametrize("words", list(commands()))
def test_a_command_exists_and_takes_these_options(words):
    app = cli.build() if words[0] == "apx" else relay_app
    command: Any = typer.main.get_command(app)
    for stop in ("|", ">", "&&", "&", "2>"):
        words = words[: words.index(stop)] if stop in words else words
    options = [word for word in words[1:] if word.startswith("-") and word != "-"]
    if len(words) > 1 and not words[1].startswith("-"):
        assert words[1] in command.commands, words[1]
        command = command.commands[words[1]]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "-h"}
    assert {option.partition("=")[0] for option in options} <= known


@pytest.mark.parametrize(("document", "text"), blocks("yaml"))
def test_a_configuration_is_valid(document, text):
    keys = set(re.findall(r"^(\w+):", text, re.MULTILINE))
    if document.endswith("monitor.md") and "streams" not in keys:
        load_settings(text)
        return
    assert keys <= set(schema()["properties"]), f"{document} shows YAML that is no configuration of the relay"
    if "streams" not in keys and "outputs" in keys:  # an output is of a stream that comes from relays
        text = "streams: [{name: astropix, from: ['tcp://relay:5556']}]\n" + text
    load_config(text)
