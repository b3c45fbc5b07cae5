"""SIGHUP: what is taken up, what waits for a restart, what is refused; and nobody else is disturbed."""

import signal
import sys

import pytest

from astropix_stream import keys
from astropix_stream.errors import ReceiveTimeout, RefusedError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay import connection, refusals
from astropix_stream.relay.receiver import RelayReceiver
from astropix_stream.sock import MulticastReceiver, MulticastSender
from programs import Program


class Reloadable:
    """A relay as a program, and its configuration file."""

    def __init__(self, path, group, port):
        self.path = path
        self.first = f"{{name: first, group: {group}, port: {port}, interface: 127.0.0.1}}"
        self.group, self.port = group, port
        self.program = None

    def write(self, *streams, more=""):
        lines = "".join(f"\n- {stream}" for stream in streams)
        publish = "publish: {endpoint: 'tcp://127.0.0.1:0'}\nmetrics: {listen: null}\n"
        self.path.write_text(f"{publish}{more}\nstreams:{lines}\n")

    def start(self, *streams, more=""):
        self.write(*streams, more=more)
        command = (sys.executable, "-m", "astropix_relay", "run", "--config", self.path)
        self.program = Program(*command)
        self.endpoint = self.program.wait_for("publishing on").split()[-1]
        return self

    def reload(self, *streams, more="", until="reloaded"):
        self.write(*streams, more=more)
        self.program.send_signal(signal.SIGHUP)
        return self.program.wait_for(until)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.program:
            code = self.program.stop()
            self.program.close()
            assert code == 0
            assert "Traceback" not in self.program.stderr


@pytest.fixture
def relay(tmp_path, group, port):
    with Reloadable(tmp_path / "relay.yaml", group, port) as relay:
        yield relay


def test_a_stream_goes_from_a_group_to_relays_and_back(relay, tmp_path, sender):
    with Reloadable(tmp_path / "lower.yaml", relay.group, relay.port) as lower:
        relay.start(relay.first)
        lower.start(lower.first)
        fed = f"{{name: first, from: ['{relay.endpoint}']}}"
        lower.reload(fed, until="0 added, 0 removed, 1 changed")
        with listen(relay, "first") as upper, listen(lower, "first") as receiver:
            sender.send_readout(AstroPix4Readout(b"\xbc", 1))
            assert receiver.receive_batch().position == upper.receive_batch().position
        nobody = "tcp://127.0.0.1:1"
        lower.reload(fed.replace(relay.endpoint, nobody), until="1 changed")
        lower.reload(fed, until="1 changed")
        with listen(lower, "first") as receiver:
            sender.send_readout(AstroPix4Readout(b"\xbc", 2))
            assert receiver.receive().readout_id == 2
        lower.reload(lower.first, until="1 changed")
        with listen(lower, "first") as receiver:
            sender.send_readout(AstroPix4Readout(b"\xbc", 3))
            assert receiver.receive().readout_id == 3
        more = "outputs: [{multicast: '239.254.1.1:5007', stream: first}]\n"
        assert "comes from a group" in lower.reload(lower.first, more=more, until="comes from a group")
        far = f"{{multicast: '{second(relay)[1]}:{relay.port}', stream: first, interface: 127.0.0.1, ttl: 0}}"
        lower.reload(fed, more=f"outputs: [{far}]\n", until="1 changed")
        with (
            MulticastReceiver(
                AstroPix4Readout, second(relay)[1], relay.port, interface="127.0.0.1", timeout=5
            ) as direct,
            listen(lower, "first"),
        ):
            sender.send_readout(AstroPix4Readout(b"\xbc", 4))
            assert direct.receive().readout_id == 4
        lower.reload(fed, until="0 changed")


def second(relay, **keys):
    group = "239.254." + relay.group.split(".", 2)[2]
    options = {"name": "second", "group": group, "port": relay.port, "interface": "127.0.0.1", **keys}
    return "{" + ", ".join(f"{key}: {value}" for key, value in options.items()) + "}", options["group"]


def listen(relay, stream, **options):
    receiver = RelayReceiver(AstroPix4Readout, relay.endpoint, stream, timeout=5, **options)
    receiver.wait_ready(5)
    return receiver


def test_streams_come_and_go_and_the_others_do_not_notice(relay, sender):
    other, group = second(relay)
    relay.start(relay.first)
    with (
        listen(relay, "first") as first,
        MulticastSender(group, relay.port, 0, interface="127.0.0.1") as other_sender,
    ):
        sent = 0

        def goes_on():
            nonlocal sent
            for _ in range(20):
                sender.send_readout(AstroPix4Readout(b"", sent))
                assert first.receive().readout_id == sent
                sent += 1

        goes_on()
        assert relay.reload(relay.first, other).endswith("streams: 1 added, 0 removed, 0 changed")
        goes_on()
        with listen(relay, "second") as receiver:
            assert set(receiver._subscription.hello.streams) == {"first", "second"}
            other_sender.send_readout(AstroPix4Readout(b"", 0))
            receiver.receive()
            relay.reload(relay.first)
            goes_on()
            other_sender.send_readout(AstroPix4Readout(b"", 1))
            with pytest.raises(ReceiveTimeout):
                receiver.receive(timeout=0.2)
            assert "removed from the relay's configuration" in receiver._subscription.report["membership"]
            relay.reload(relay.first, other)
            other_sender.send_readout(AstroPix4Readout(b"", 2))
            assert receiver.receive().readout_id == 2
            assert (receiver.ledger.restarts, receiver._subscription.report["published"] >= 1) == (0, True)
        goes_on()
        assert (first.ledger.delivered, first.ledger.lost, first.ledger.restarts) == (sent, 0, 0)


def test_a_stream_changes_its_group_and_keeps_its_numbers(relay, sender):
    other, group = second(relay)
    moved, new_group = second(relay, group="239.253." + relay.group.split(".", 2)[2], stride=10)
    relay.start(relay.first, other)
    with listen(relay, "second") as receiver:
        for number, where in ((0, group), (10, new_group)):
            with MulticastSender(where, relay.port, 0, interface="127.0.0.1") as to:
                to.send_readout(AstroPix4Readout(b"", number))
                assert receiver.receive().readout_id == number
            if not number:
                line = relay.reload(relay.first, moved)
                assert line.endswith("streams: 0 added, 0 removed, 1 changed")
        assert receiver.ledger.lost == 0


def test_what_waits_for_a_restart_is_named_each_time(relay):
    relay.start(relay.first)
    for _ in range(2):
        line = relay.reload(relay.first, more="memory_budget: 2GiB", until="waits for a restart")
        assert "memory_budget" in line
        relay.program.wait_for("reloaded")


@pytest.mark.parametrize("broken", ["streams: [", "strems: []", "streams: [{name: Up}]\nmemory_budget: 1x"])
def test_a_broken_file_is_refused_and_the_old_one_stays(relay, sender, broken):
    relay.start(relay.first)
    with listen(relay, "first") as receiver:
        relay.path.write_text(broken)
        relay.program.send_signal(signal.SIGHUP)
        assert f"{relay.path}:1:" in relay.program.wait_for(f"{relay.path}:")
        relay.program.wait_for("reload refused")
        sender.send_readout(AstroPix4Readout(b"", 7))
        assert receiver.receive().readout_id == 7


def test_a_file_that_is_gone_is_refused(relay):
    relay.start(relay.first)
    relay.path.unlink()
    relay.program.send_signal(signal.SIGHUP)
    assert "cannot read" in relay.program.wait_for("cannot read")
    relay.program.wait_for("reload refused")


class TestClientKeys:
    @pytest.fixture
    def files(self, tmp_path):
        for name in ("relay", "alice", "bob"):
            keys.write_pair(tmp_path, name)
        (tmp_path / "clients").mkdir()
        return tmp_path

    def allow(self, files, name):
        (files / "clients" / f"{name}.key").write_bytes((files / f"{name}.key").read_bytes())

    def who(self, files, name):
        return {"server_key": files / "relay.key", "key_file": files / f"{name}.key_secret"}

    def test_are_taken_up_and_a_removed_one_ends_its_connection(self, relay, files, sender, monkeypatch):
        monkeypatch.setattr(connection, "LOST_AFTER_S", 60.0)  # it does not reconnect by itself
        monkeypatch.setattr(refusals, "REFUSAL_PATIENCE_S", 0.0)
        more = f"security: {{client_keys: {files}/clients, secret_key: {files}/relay.key_secret}}"
        self.allow(files, "alice")
        relay.start(relay.first, more=more)
        with listen(relay, "first", **self.who(files, "alice")) as alice:
            self.allow(files, "bob")
            assert "bob" in relay.reload(relay.first, more=more, until="clients now allowed")
            with listen(relay, "first", **self.who(files, "bob")) as bob:
                (files / "clients" / "alice.key").unlink()
                assert "alice" in relay.reload(relay.first, more=more, until="clients no longer allowed")
                with pytest.raises(RefusedError, match="our key is not in its list"):
                    alice.receive(timeout=10)
                for i in range(10):
                    sender.send_readout(AstroPix4Readout(b"", i))
                for i in range(10):
                    assert bob.receive().readout_id == i, "history gives what was missed meanwhile"
                with pytest.raises((RefusedError, ReceiveTimeout)):
                    alice.receive(timeout=3)

    def test_a_directory_that_is_gone_is_refused_and_the_old_list_stays(self, relay, files):
        more = f"security: {{client_keys: {files}/clients, secret_key: {files}/relay.key_secret}}"
        self.allow(files, "alice")
        relay.start(relay.first, more=more)
        (files / "clients").rename(files / "elsewhere")
        relay.reload(relay.first, more=more, until="reload refused")
        with listen(relay, "first", **self.who(files, "alice")):
            pass
