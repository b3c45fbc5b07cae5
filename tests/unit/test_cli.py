"""The command line: help, versions, and one line for each mistake."""

import importlib
import logging
import subprocess
import sys

import pytest

from astropix_stream import cli, distributions
from astropix_stream.cli.terminal import ending, options
from astropix_stream.errors import WireError
from astropix_stream.fileio import FileHeader, apx_open
from astropix_stream.fmt import AstroPix4Readout

HERE = ("--interface", "127.0.0.1", "--ttl", "0")


@pytest.fixture(autouse=True)
def log_level():
    """Undo --debug."""
    level = logging.getLogger("astropix_stream").level
    yield
    logging.getLogger("astropix_stream").setLevel(level)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.apx"
    with apx_open(path, "wb", FileHeader(AstroPix4Readout, {})) as writer:
        for i in range(5):
            writer.write(AstroPix4Readout(b"\xbc\xbc", i, i).to_bytes())
    return path


def test_no_arguments_give_the_help(capsys):
    assert cli.run([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_with_an_example_and_json_for_programs(name, capsys):
    assert cli.run([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"apx {name} " in out.replace("Usage: apx", "")
    assert "--json" in out
    assert "--debug" in out


def test_only_the_command_that_is_asked_for_is_imported():
    code = "import sys; from astropix_stream import cli; cli.run(['simulate', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1].split()
    assert "astropix_stream.cli.simulate" in modules
    assert not {"astropix_stream.cli.send", "zmq", "numpy"} & set(modules)


def test_version(capsys, monkeypatch):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("apx ")
    monkeypatch.setattr(distributions, "conflict", lambda: "two of them")
    assert cli.run(["--version"]) == 1
    assert capsys.readouterr().err == "apx: two of them\n"


MISTAKES = [
    (["snd"], "No such command 'snd'"),
    (["send"], "Missing argument 'FILE"),
    (["send", "{file}", "--sped", "2"], "--speed"),
    (["send", "{file}", "--speed", "fast"], "'fast' is not a number"),
    (["send", "{file}", "--speed", "0"], "'0' is not a number above 0"),
    (["send", "{file}", "--rate", "-1"], "'-1' is not a number above 0"),
    (["send", "{file}", "--rate", "nan"], "'nan' is not a number above 0"),
    (["send", "{file}", "--loss", "2"], "'2' is not a fraction: write 1% or 0.01"),
    (["send", "{file}", "--port", "70000"], "--port"),
    (["send", "{file}", "--ttl", "256"], "--ttl"),
    (["send", "{file}", "--group", "239.1.1"], "'239.1.1' is not an IP address"),
    (["send", "{file}", "--interface", "eth77"], "no interface is called 'eth77'; there are: "),
    (["send", "{file}", "--start", "5", *HERE], "nothing to play: no readout from number 5 on"),
    (["send", "{dir}/none.apx"], "none.apx: No such file or directory"),
    (["send", "{dir}"], "is a directory, not a file of readouts"),
    (["send", "{other}"], "not an .apx file"),
    (["receive"], "Missing argument 'URL"),
    (["receive", "239.1.1.1:5007"], "no such file; a group is udp://239.1.1.1:5007"),
    (["receive", "xdp://239.1.1.1:5007"], "a source begins with udp://, tcp:// or nats://"),
    (["receive", "{other}", "--follow", "--from", "x"], "write beginning or end"),
    (["receive", "udp://239.1.1.1:5007", "--follow"], "--follow is for a file"),
    (["send", "-"], "send reads twice"),
    (["send", "{zeros}"], "the timestamps are all 0: say how fast to send, with --rate N"),
    (["receive", "/dev/null"], "the file is empty"),
    (["receive", "udp://239.1.1.1:5007?interface=eth77"], "no interface is called 'eth77'"),
    (["receive", "udp://239.1.1.1:5007", "tcp://relay"], "tcp://HOST:PORT"),
    (["receive", "udp://239.1.1.1:5007", "--count", "0"], "--count"),
    (["receive", "{file}", "{file}"], "named twice"),
    (["receive", "{file}", "udp://239.1.1.1:5007"], "which a file is not; name one file, or add --separate"),
    (["receive", "{file}", "--separate"], "--separate is for several URLs"),
    (["receive", "{file}", "--keep-duplicates"], "--keep-duplicates goes with --hits"),
    (["receive", "{file}", "--from", "end"], "--from needs --follow"),
    (["receive", "udp://239.1.1.1:5007", "--key", "me.key_secret"], "--key is for a relay, tcp://HOST:PORT"),
    (
        ["receive", "tcp://127.0.0.1:1?server_key=a&key_file=b", "--server-key", "c"],
        "--server-key: the URL names its server_key already",
    ),
    (["top", "{file}", "--from", "end"], "--from needs --follow"),
    (["top", "tcp://127.0.0.1:1", "tcp://127.0.0.1:1"], "named twice"),
    (["monitor", "{file}", "--no-page"], "--no-page needs --snapshot DIR"),
    (["monitor", "{file}", "--every", "60"], "--every needs --snapshot DIR"),
    (
        ["monitor", "{file}", "--no-page", "--snapshot", "{dir}", "--listen", "127.0.0.1:5006"],
        "--listen is for the page: leave out --no-page",
    ),
    (["monitor", "{file}", "--start", "live"], "--start is for a relay or a log: a file is read from"),
    (["monitor", "udp://239.1.1.1:5007", "--start", "10"], "--start is for a relay or a log: udp://"),
    (["monitor", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2", "--start", "10"], "--start is for a single URL"),
    (["monitor", "nats://127.0.0.1?start=live", "--start", "10"], "--start is in the URL already"),
    (["monitor", "udp://239.1.1.1:5007", "udp://239.1.1.1:5007"], "named twice"),
    (["record", "{file}", "{dir}/new.apx"], "is a file, and record writes what comes from a network"),
    (["record", "tcp://127.0.0.1:1", "tcp://127.0.0.1:1", "{dir}/new.apx"], "named twice"),
    (["record", "nats://127.0.0.1?start=1", "{dir}/new.apx", "--from", "2"], "says where to start already"),
    (["send", "{file}", "--rate", "10", "--speed", "1"], "--speed is for the timing of the run"),
    (["send", "{file}", "--rate", "10", "--max-pause", "1"], "--max-pause is for the timing of the run"),
    (["send", "{file}", "--speed", "max", "--max-pause", "1"], "--max-pause does nothing with --speed max"),
    (["send", "{file}", "--seed", "1"], "--seed is for --loss, --duplicate or --reorder"),
    (["send", "{file}", "--from", "end"], "--from needs --follow"),
    (["send", "{file}", "--state", "{dir}/state"], "--state needs --follow"),
    (["send", "{file}", "--follow", "--speed", "1"], "--speed does not go with --follow"),
    (["send", "{file}", "--follow", "--max-pause", "1"], "--max-pause does not go with --follow"),
    (["simulate", "--output", "{dir}/new.apx", "--ttl", "0"], "--ttl is for sending"),
    (["simulate", "--output", "{dir}/new.apx", "--interface", "lo"], "--interface is for sending"),
    (
        ["info", "tcp://relay:5556"],
        "this command reads files, not tcp:// sources; `apx record URL",
    ),
    (["record", "udp://239.1.1.1:5007"], "Missing argument 'URL': write apx record URL... FILE.apx"),
    (["receive", "tcp://relay:5556", "--key", "k"], "--key and --server-key belong together"),
    (
        ["receive", "udp://239.1.1.1:5007?source=daq"],
        "source must be the IP address of the DAQ host, not 'daq'",
    ),
    (["receive", "udp://203.0.113.9:5007"], "neither a multicast group nor an address of this host"),
    (["simulate", "--count", "1", "--output", "{dir}/run.bin"], "run.bin: the output file must end in .apx"),
    (["convert", "{file}", "{dir}/none/hits.csv"], "none/hits.csv: No such file or directory"),
    (["convert", "{file}", "{dir}/hits"], "the name does not tell the format"),
    (["simulate", "--force"], "--force goes with --output FILE"),
    (["conformance", "tcp://127.0.0.1:5556", "--list"], "--list plays nothing"),
    (["conformance", "--list", "--scene", "gap"], "--scene does nothing with --list"),
    (["doctor", "tcp://127.0.0.1:1", "--listen", "5"], "--listen is for a group"),
    (["simulate", "--hits", "-1"], "--hits"),
    (["demo", "--seconds", "x"], "'x' is not a number"),
]


@pytest.mark.parametrize(("args", "complaint"), MISTAKES, ids=[" ".join(args) for args, _ in MISTAKES])
def test_mistakes_are_told_in_one_line(args, complaint, file, tmp_path, capsys):
    other = tmp_path / "notes.txt"
    other.write_text("hello")
    zeros = tmp_path / "zeros.log"
    zeros.write_text("0\tb'bc'\n1\tb'bc'\n")
    args = [arg.format(file=file, dir=tmp_path, other=other, zeros=zeros) for arg in args]
    assert cli.run(args) == ending.WRONG_INPUT
    out, err = capsys.readouterr()
    assert complaint in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize(
    "words",
    [["receive"], ["info"], ["top", "--seconds", "0.3"], ["convert", "{dir}/hits.csv"], ["send", *HERE]],
)
def test_a_damaged_file_is_wrong_input_for_every_command(words, file, tmp_path, capsys):
    file.write_bytes(file.read_bytes()[:-5])
    command, *rest = (word.format(dir=tmp_path) for word in words)
    assert cli.run([command, str(file), *rest]) == ending.WRONG_INPUT
    out, err = capsys.readouterr()
    assert "4" in out + err  # whole readouts


@pytest.mark.parametrize("args", [["send", "none.apx", "--debug"], ["--debug", "send", "none.apx"]])
def test_debug_shows_the_traceback(args, capsys):
    assert cli.run(args) == ending.WRONG_INPUT
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_called_a_bug(monkeypatch, capsys):
    module = importlib.import_module("astropix_stream.cli.send")
    monkeypatch.setattr(module, "RecordedRuns", None)
    assert cli.run(["send", "x"]) == ending.WRONG
    assert capsys.readouterr().err == (
        "apx: this is a bug: TypeError: 'NoneType' object is not callable (--debug shows where)\n"
    )


def test_errors_of_our_own_keep_to_their_line(capsys):
    assert ending.report(WireError("two\nlines")) == ending.WRONG
    assert capsys.readouterr().err == "apx: two lines\n"


@pytest.mark.parametrize(("text", "value"), [("1%", 0.01), ("0.25", 0.25), ("100%", 1.0), (0.0, 0.0)])
def test_fractions(text, value):
    assert options.fraction(text) == value


def test_keys_go_into_the_urls_of_relays_that_name_none():
    from pathlib import Path

    from astropix_stream.cli.terminal import options

    urls = ["tcp://a:5556?stream=x", "tcp://b:5556?server_key=its", "udp://239.1.1.1:5007"]
    assert options.with_keys(urls, None, None) == urls
    assert options.with_keys(urls, Path("me.key_secret"), Path("relay.key")) == [
        "tcp://a:5556?key_file=me.key_secret&server_key=relay.key&stream=x",
        "tcp://b:5556?key_file=me.key_secret&server_key=its",
        "udp://239.1.1.1:5007",
    ]
