"""What type checkers and `help()` know of the receivers: a program of a user passes `mypy --strict`."""

import inspect
import pydoc
import subprocess
import sys

import pytest

from astropix_stream.log.receiver import NatsReceiver
from astropix_stream.opening import open_receiver
from astropix_stream.receiving.merged import MergedReceiver
from astropix_stream.receiving.receiver import Receiver
from astropix_stream.relay import RelayReceiver
from astropix_stream.sock import MulticastReceiver

PROGRAM = """
import asyncio
from collections import Counter

from astropix_stream.errors import AstropixError, FormatError, ReceiveTimeout
from astropix_stream.fmt import AstroPix4Hit, AstroPix4Readout
from astropix_stream.opening import open_receiver
from astropix_stream.receiving.receiver import Receiver
from astropix_stream.relay import RelayReceiver
from astropix_stream.sock import MulticastReceiver, MulticastSender


def count(receiver: Receiver[AstroPix4Readout]) -> Counter[int]:
    rows: Counter[int] = Counter()
    for readout in receiver:
        hits: list[AstroPix4Hit] = readout.decode()
        rows.update(hit.row for hit in hits)
    return rows


async def follow(receiver: Receiver[AstroPix4Readout]) -> int:
    async for readout in receiver:
        print(readout.readout_id, readout.timestamp, [hit.tot_us for hit in readout.decode()])
    return (await receiver.receive_async(timeout=1.0)).readout_id


def main() -> None:
    with MulticastSender("239.1.1.1", 5007, interface="lo") as sender:
        sender.send_readout(AstroPix4Readout(b"\\xbc\\x01", 0))
    with MulticastReceiver(AstroPix4Readout, interface="lo", timeout=5) as direct:
        print(count(direct), direct.granted_buffer)
    with RelayReceiver(AstroPix4Readout, "tcp://relay:5556", "astropix", start="oldest") as relayed:
        relayed.wait_ready(10)
        print(relayed.columns(seconds=5)["row"], len(relayed.receive_batch()))
    with open_receiver(AstroPix4Readout, ["udp://239.1.1.1:5007", "tcp://relay:5556"]) as merged:
        print(asyncio.run(follow(merged)), merged.ledger.lost, merged.ledger.lost_at, merged.state)
        lost: int = merged.ledger.lost
        reveal_type(merged.receive())


try:
    main()
except FormatError as error:
    offset: int | None = error.offset
except (ReceiveTimeout, AstropixError) as error:
    print(error)
"""
WRONG = {
    "for readout in receiver:": ("for readout in receiver.receive():", "not iterable"),
    "hit.row": ("hit.rwo", '"rwo"'),
    'start="oldest"': ('start="oldst"', '"start"'),
    "lost: int": ("lost: str", '"str"'),
}


def mypy(folder, text):
    """Check a program in a folder of its own, where the package is only found as it is installed."""
    path = folder / "program.py"
    path.write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", folder.parent / "cache", path]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=110)


def test_a_users_program_passes_mypy_strict_and_a_wrong_one_does_not(tmp_path):
    folder = tmp_path / "user"
    folder.mkdir()
    done = mypy(folder, PROGRAM)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'Revealed type is "astropix_stream.fmt.astropix4.AstroPix4Readout"' in done.stdout
    wrong = PROGRAM
    for right, (mistake, _) in WRONG.items():
        assert right in wrong
        wrong = wrong.replace(right, mistake, 1)
    done = mypy(folder, wrong)
    assert done.stdout.count(": error:") >= len(WRONG), done.stdout
    for _, told in WRONG.values():
        assert told in done.stdout


RECEIVERS: dict[type, dict[str, object]] = {
    MulticastReceiver: {"group": "239.1.1.1", "port": 5007, "interface": None, "timeout": None, "stride": 1},
    RelayReceiver: {"endpoint": inspect.Parameter.empty, "stream": None, "recover": True, "start": "live"},
    MergedReceiver: {"receivers": inspect.Parameter.empty, "timeout": None, "stride": None},
    NatsReceiver: {"timeout": None},
}


@pytest.mark.parametrize("receiver", RECEIVERS)
def test_signatures_and_help_show_the_real_parameters(receiver):
    found = inspect.signature(receiver).parameters
    assert next(iter(found)) == "readout_class"
    kinds = {parameter.kind for parameter in found.values()}
    assert not kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    for name, default in RECEIVERS[receiver].items():
        assert found[name].default == default
    text = pydoc.plain(pydoc.render_doc(receiver))
    assert "<object object" not in text
    assert "receive(self, max_size: int = 65535, timeout: float | None = receiver.timeout)" in text
    assert "columns(self, seconds: float = 5.0)" in text


@pytest.mark.parametrize("name", [name for name in dir(Receiver) if not name.startswith("_")])
def test_each_method_names_its_parameters_and_says_what_it_is(name):
    member = inspect.getattr_static(Receiver, name)
    assert inspect.getdoc(member)
    if inspect.isfunction(member):
        parameters = inspect.signature(member).parameters.values()
        assert all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)
        assert "<" not in str([parameter.default for parameter in parameters]).replace(
            "<class 'inspect._empty'>", ""
        )


def test_open_receiver_names_what_all_receivers_share():
    found = inspect.signature(open_receiver).parameters
    assert list(found)[:2] == ["readout_class", "url"]
    assert found["timeout"].default is None
