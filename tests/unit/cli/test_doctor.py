"""`apx doctor` and `apx top` as commands: mistakes in one line, plain text and JSON."""

import json

import pytest

from astropix_stream import cli
from astropix_stream.cli import doctor
from astropix_stream.cli.terminal import ending
from astropix_stream.doctor import examination, host
from astropix_stream.doctor.settings import judge_buffer
from astropix_stream.doctor.verdict import Mark, Verdict, fine, unknown
from astropix_stream.fmt import ASTROPIX3

MISTAKES = [
    (["doctor", "239.1.1.1:5007"], "the doctor checks udp://, tcp:// and nats:// sources"),
    (["doctor", "udp://239.1.1.1:70000"], "port must be from 1 to 65535, not '70000'"),
    (["doctor", "udp://239.1.1.1:5007?interfce=eth0"], "did you mean 'interface'?"),
    (["doctor", "udp://239.1.1.1:5007?interface=eth77"], "no interface is called 'eth77'; there are: "),
    (["doctor", "udp://239.1.1.1:5007?interface=192.0.2.77"], "no interface has the address 192.0.2.77"),
    (["doctor", "udp://[ff02::7]:5007"], "name the interface"),
    (["doctor", "--relay", "udp://239.1.1.1:5007"], "a relay is tcp://HOST:PORT"),
    (["doctor", "--relay", "relay:5556"], "the doctor checks udp://, tcp:// and nats:// sources"),
    (["doctor", "--listen", "0"], "'0' is not a number above 0"),
    (["doctor", "udp://239.1.1.1:5007", "udp://239.1.1.2:5007"], "unexpected extra argument"),
    (["doctor", "tcp://relay:5556?server_key=x"], "server_key and key_file belong together"),
    (["top"], "Missing argument 'URL"),
    (["top", "udp://239.1.1.1"], "a source is udp://HOST:PORT"),
    (["top", "udp://239.1.1.1:5007", "udp://239.1.1.1:70000"], "port must be from 1 to 65535, not '70000'"),
    (["top", "udp://239.1.1.1:5007?interface=eth77"], "no interface is called 'eth77'"),
    (["top", "tcp://relay:5556?stream=A"], "'A' cannot be a stream's name"),
    (["top", "udp://239.1.1.1:5007", "--seconds", "-1"], "'-1' is not a number above 0"),
]


@pytest.mark.parametrize(("args", "complaint"), MISTAKES, ids=[" ".join(args) for args, _ in MISTAKES])
def test_mistakes_are_told_in_one_line(args, complaint, capsys):
    assert cli.run([*args, "--json"] if args[0] == "doctor" else args) == ending.WRONG_INPUT
    err = capsys.readouterr().err
    assert complaint in err
    assert err.count("\n") == 1


WRONG = Verdict("route", Mark.WRONG, "no route\x1b[2J", "no-route", "add one", "sudo true\nsudo false", True)


@pytest.fixture
def found(monkeypatch):
    """What the examination of a group finds."""
    verdicts = [fine("interface", "eth0 is up"), unknown("firewall", "not readable", needs_root=True)]
    monkeypatch.setattr(examination, "examine_environment", list)
    monkeypatch.setattr(examination, "examine_group", lambda source, listen_s, kind: verdicts)
    monkeypatch.setattr(host, "is_root", lambda: False)
    return verdicts


def test_a_line_a_check_then_the_first_thing_to_try(found, capsys):
    found.append(WRONG)
    assert cli.run(["doctor"]) == ending.WRONG
    assert capsys.readouterr().out.splitlines() == [
        "this installation",
        "udp://239.1.1.1:5007",
        "  ✔ interface         eth0 is up",
        "  ? firewall          not readable",
        "  ✘ route             no route\N{REPLACEMENT CHARACTER}[2J",
        "",
        "The first thing to try: add one",
        "    sudo true",
        "    sudo false",
        f"? {doctor._ROOT_ADDS} (sudo apx doctor …)",
    ]


def test_nothing_wrong(found, capsys, monkeypatch):
    monkeypatch.setattr(host, "is_root", lambda: True)
    assert cli.run(["doctor"]) == ending.OK
    assert capsys.readouterr().out.endswith("\n\nNothing wrong was found.\n")
    found.append(judge_buffer(8 << 20, 4 << 20, 0))
    assert cli.run(["doctor"]) == ending.OK
    assert "Nothing wrong was found. It could be better:\n" in capsys.readouterr().out


def test_records_for_programs(found, capsys):
    found.append(WRONG)
    assert cli.run(["doctor", "udp://239.1.1.7:5007", "--json"]) == ending.WRONG
    *checks, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert [check["mark"] for check in checks] == ["ok", "unknown", "wrong"]
    assert {check["source"] for check in checks} == {"udp://239.1.1.7:5007"}
    assert summary["wrong"] == 1
    assert summary["first"]["fault"] == "no-route"
    assert summary["root_would_add"] == ["firewall"]


def test_a_relay_alone_is_examined_without_a_group(found, monkeypatch, capsys):
    asked, kinds = [], []

    def examine(source, kind):
        asked.append(str(source))
        kinds.append(kind)
        return []

    monkeypatch.setattr(examination, "examine_relay", examine)
    assert cli.run(["doctor", "--relay", "tcp://relay:5556"]) == ending.OK
    assert asked == ["tcp://relay:5556"]
    assert "udp://" not in capsys.readouterr().out
    assert cli.run(["doctor", "udp://239.1.1.1:5007", "--relay", "tcp://relay:5556?stream=a"]) == ending.OK
    assert asked[1:] == ["tcp://relay:5556?stream=a"]
    assert cli.run(["doctor", "tcp://relay:5556", "--kind", "astropix3"]) == ending.OK
    assert kinds == [None, None, ASTROPIX3]
    assert cli.run(["doctor", "nats://host:4222", "--kind", "astropix3"]) == ending.WRONG_INPUT
    assert "--kind is for a group or a relay: leave it out" in capsys.readouterr().err
