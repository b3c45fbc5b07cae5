"""Who is let in, with and without encryption, and what those see who are not."""

import sys
from contextlib import ExitStack, nullcontext, suppress

import pytest
import zmq

from astropix_relay.clients.gate import Gate
from astropix_relay.clients.handover import Handover, Listener
from astropix_relay.clients.publisher import Publisher
from astropix_relay.clients.security import load_clients
from astropix_relay.configuration.model import (
    Config,
    MetricsConfig,
    PublishConfig,
    SecurityConfig,
    StreamConfig,
)
from astropix_stream import keys, wire
from astropix_stream.errors import ConfigError, ReceiveTimeout, RefusedError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver
from astropix_stream.relay import connection
from astropix_stream.relay.receiver import RelayReceiver
from astropix_stream.sock import MulticastSender
from programs import Program
from relays import running


@pytest.fixture
def files(tmp_path):
    """Keys of a relay and of clients; `clients/` is the list."""
    for name in ("relay", "alice", "bob", "mallory"):
        keys.write_pair(tmp_path, name)
    (tmp_path / "clients").mkdir()
    for name in ("alice", "bob"):
        allow(tmp_path, name)
    return tmp_path


def allow(files, name):
    (files / "clients" / f"{name}.key").write_bytes((files / f"{name}.key").read_bytes())


@pytest.fixture
def make_config(group, port, files):
    def make(*, encrypted, **publish):
        security = {"client_keys": str(files / "clients"), "secret_key": str(files / "relay.key_secret")}
        config = Config(
            streams=(StreamConfig(group=group, port=port, interface="127.0.0.1"),),
            publish=PublishConfig(endpoint="tcp://127.0.0.1:0", **publish),
            metrics=MetricsConfig(listen=None),
        )
        return config.model_copy(update={"security": SecurityConfig(**security)}) if encrypted else config

    return make


@pytest.fixture
def secure(make_config):
    with running(make_config(encrypted=True)) as relay:
        yield relay


@pytest.fixture
def open_relay(make_config):
    with running(make_config(encrypted=False)) as relay:
        yield relay


def receiver(relay, files=None, name=None, **options):
    if name:
        options = {"server_key": files / "relay.key", "key_file": files / f"{name}.key_secret", **options}
    return RelayReceiver(AstroPix4Readout, relay.publisher.endpoint, timeout=5, **options)


class TestEncryption:
    @pytest.fixture(autouse=True)
    def retry_soon(self, monkeypatch):
        monkeypatch.setattr(connection, "LOST_AFTER_S", 0.5)

    def test_a_client_on_the_list_gets_everything(self, secure, files, group, port):
        with (
            receiver(secure, files, "alice") as alice,
            MulticastSender(group, port, 0, interface="127.0.0.1") as sender,
        ):
            alice.wait_ready(5)
            for i in range(100):
                sender.send_readout(AstroPix4Readout(b"\xbc", i))
                assert alice.receive().readout_id == i

    @pytest.mark.parametrize(
        ("name", "options", "words"),
        [
            ("mallory", {}, "our key is not in its list"),
            (None, {}, "it is encrypted: give|it may be encrypted"),
            ("alice", {"server_key": "bob.key"}, "server_key may not be its key"),
        ],
        ids=["wrong key", "no key", "wrong server key"],
    )
    def test_others_are_told_why_they_get_nothing(self, secure, files, name, options, words):
        options = {key: files / value for key, value in options.items()}
        with receiver(secure, files, name, **options) as refused:
            with pytest.raises(RefusedError, match=words):
                refused.wait_ready(5)
            with pytest.raises(ConnectionRefusedError):  # it goes on trying, and is told again
                refused.receive(timeout=5)
        with receiver(secure, files, "alice") as alice:
            alice.wait_ready(5)

    def test_keys_where_there_is_no_encryption(self, open_relay, files):
        with (
            receiver(open_relay, files, "alice") as refused,
            pytest.raises(RefusedError, match=r"not (be )?encrypted"),
        ):
            refused.wait_ready(5)

    def test_a_url_names_the_files(self, secure, files):
        url = f"{secure.publisher.endpoint}?server_key={files}/relay.key&key_file={files}/alice.key_secret"
        with open_receiver(AstroPix4Readout, url) as alice:
            alice.wait_ready(5)

    def test_both_keys_or_none(self, open_relay, files):
        for options in ({"server_key": files / "relay.key"}, {"key_file": files / "alice.key_secret"}):
            with pytest.raises(ConfigError, match="belong together"):
                receiver(open_relay, **options)

    def test_a_provider_that_raises_lets_nobody_in_and_harms_nobody(self, secure, files, caplog):
        with receiver(secure, files, "alice") as alice:
            alice.wait_ready(5)
            good, secure.gate.provider = secure.gate.provider, lambda key: 1 / 0
            with (
                receiver(secure, files, "bob") as bob,
                pytest.raises(RefusedError, match="could not look up"),
            ):
                bob.wait_ready(5)
            secure.gate.provider = good
            with receiver(secure, files, "bob") as bob:
                bob.wait_ready(5)
            alice._subscription.ready = False
            alice._subscription._relay_id = None
            alice.wait_ready(5)  # beats go on
        assert secure.publisher.door.failed["provider"] == 1
        assert "ZeroDivisionError" in caplog.text


class TestHistory:
    """The history endpoint has the same list."""

    @pytest.mark.parametrize(("name", "answered"), [("alice", True), ("mallory", False), (None, False)])
    def test_is_for_those_on_the_list(self, secure, files, group, port, name, answered):
        with (
            receiver(secure, files, "alice", recover=False) as alice,
            MulticastSender(group, port, 0, interface="127.0.0.1") as sender,
            zmq.Context() as context,
            context.socket(zmq.DEALER) as client,
        ):
            alice.wait_ready(5)
            sender.send_readout(AstroPix4Readout(b"secret", 1))
            alice.receive()
            if name:
                client.curve_serverkey = keys.server_key(files / "relay.key")
                client.curve_publickey, client.curve_secretkey = keys.read_pair(files / f"{name}.key_secret")
            client.linger = 0
            client.connect(secure.archive.endpoint)
            client.sndtimeo = 2000
            # One who is refused before this has no connection to send on: ZeroMQ would wait for one.
            with nullcontext() if answered else suppress(zmq.Again):
                client.send(wire.pack_request(wire.Request(wire.Ask.OLDEST, 1, 0, 0, 0, "astropix")))
            assert bool(client.poll(5000 if answered else 500)) == answered
            assert not answered or b"secret" in client.recv_multipart()[-1]


class TestNobodyAnswers:
    """When the relay cannot say who may come in, nobody may."""

    @pytest.fixture
    def context(self):
        with zmq.Context() as context:
            yield context

    @pytest.mark.parametrize("encrypted", [True, False])
    @pytest.mark.parametrize("killed", [True, False], ids=["killed", "hung"])
    def test_nobody_comes_in(self, context, files, encrypted, killed):
        pair = keys.read_pair(files / "relay.key_secret") if encrypted else None
        gate = Gate(context, max_clients=64, pair=pair, provider=lambda key: "anyone")
        listener = Listener("tcp://127.0.0.1:0", Handover())
        publisher = Publisher(context, listener, b"apx/hello\0{}", 1 << 20, gate)
        with ExitStack() as opened:
            opened.callback(gate.close)
            opened.callback(publisher.close)
            opened.callback(listener.close)
            if killed:
                gate._zap.close()
            options = {"server_key": files / "relay.key", "key_file": files / "alice.key_secret"}
            client = RelayReceiver(AstroPix4Readout, publisher.endpoint, **(options if encrypted else {}))
            opened.callback(client.close)
            with pytest.raises((RefusedError, ReceiveTimeout)):
                client.wait_ready(1)
            assert not publisher.take_subscriptions()
            assert client._subscription.hello is None


class TestFull:
    @pytest.mark.parametrize("encrypted", [True, False])
    def test_the_next_one_is_refused_until_another_leaves(self, make_config, files, encrypted, monkeypatch):
        monkeypatch.setattr(connection, "LOST_AFTER_S", 1.0)
        who = (files, "alice") if encrypted else ()
        with (
            running(make_config(encrypted=encrypted, max_clients=2)) as relay,
            receiver(relay, *who) as first,
            receiver(relay, *who) as third,
        ):
            first.wait_ready(5)
            third.wait_ready(5)
            with receiver(relay, *who) as next_one:
                with pytest.raises(RefusedError, match="as many clients as it takes"):
                    next_one.wait_ready(5)
                third.close()
                waited = 0
                while not next_one._subscription.ready:
                    try:
                        next_one.wait_ready(5)
                    except RefusedError:
                        waited += 1
                        assert waited < 5
                first._subscription.ready = False
                first._subscription._relay_id = None
                first.wait_ready(5)  # undisturbed
            assert relay.publisher.door.failed["full"] >= 1


class TestRestart:
    def test_all_clients_of_one_host_come_in_at_once(self, make_config):
        count = 100
        with (
            running(make_config(encrypted=False, max_clients=count)) as relay,
            zmq.Context() as context,
            ExitStack() as opened,
        ):
            clients = [opened.enter_context(context.socket(zmq.SUB)) for _ in range(count)]
            for client in clients:
                client.subscribe(b"apx/hello")
                client.connect(relay.publisher.endpoint)
            waited = [client.poll(5000) for client in clients]
            assert all(waited)
            assert not relay.publisher.door.failed["pace"]


class TestList:
    def test_what_is_wrong_with_one_key_keeps_out_that_client_alone(self, files, caplog):
        (files / "clients" / "broken.key").write_text("rubbish")
        (files / "clients" / "README").write_text("not a key")
        (files / "clients" / "alice.key_secret").write_text("oops")
        security = SecurityConfig(client_keys=str(files / "clients"))
        assert sorted(load_clients(security).values()) == ["alice", "bob"]
        assert "client refused" in caplog.text
        assert "broken.key holds no public key" in caplog.text
        assert "alice.key_secret is a client's secret key" in caplog.text

    def test_a_directory_that_cannot_be_read(self, files):
        with pytest.raises(ConfigError, match="cannot read"):
            load_clients(SecurityConfig(client_keys=str(files / "nothing")))


class TestCommands:
    def test_keygen(self, tmp_path):
        arguments = (sys.executable, "-m", "astropix_relay", "keygen", tmp_path / "k", "--name", "carol")
        with Program(*arguments) as program:
            assert program.wait() == 0
            assert program.stdout == (
                f"public key: {tmp_path}/k/carol.key\nsecret key: {tmp_path}/k/carol.key_secret\n"
            )
        with Program(*arguments) as program:
            assert program.wait() == 1
            assert program.stderr == f"{tmp_path}/k/carol.key_secret exists already, and is left as it is\n"

    @pytest.mark.parametrize("problem", ["readable", "missing", "no clients", "no credential"])
    def test_a_relay_that_cannot_guard_itself_does_not_start(self, files, problem):
        secret = files / "relay.key_secret"
        security = {"client_keys": files / "clients", "secret_key": secret}
        words = {
            "readable": "others can read this secret key",
            "missing": "cannot read the key file",
            "no clients": "security.client_keys: cannot read",
            "no credential": "security.secret_key: name the file",
        }[problem]
        match problem:
            case "readable":
                secret.chmod(0o644)
            case "missing":
                secret.unlink()
            case "no clients":
                security["client_keys"] = files / "nothing"
            case "no credential":
                del security["secret_key"]
        lines = [f"  {key}: {value}" for key, value in security.items()]
        (files / "relay.yaml").write_text("\n".join(["security:", *lines, ""]))
        config = files / "relay.yaml"
        with Program(sys.executable, "-m", "astropix_relay", "run", "--config", config) as program:
            assert program.wait() == 1
            assert words in program.stderr
            assert "Traceback" not in program.stderr

    def test_the_secret_comes_from_systemd(self, files, group, port):
        """The file's rights look as if its group could read it, as those of systemd with their ACL."""
        secret = files / "relay.key_secret"
        secret.chmod(0o440)
        (files / "relay.yaml").write_text(
            f"streams: [{{group: {group}, port: {port}, interface: 127.0.0.1}}]\n"
            f"publish: {{endpoint: 'tcp://127.0.0.1:0'}}\n"
            f"security: {{client_keys: {files / 'clients'}}}\n"
        )
        command = (sys.executable, "-m", "astropix_relay", "run", "--config", files / "relay.yaml")
        with Program(*command, env={"CREDENTIALS_DIRECTORY": str(files)}) as program:
            endpoint = program.wait_for("publishing on").split()[-1]
            alice = {"server_key": files / "relay.key", "key_file": files / "alice.key_secret"}
            with RelayReceiver(AstroPix4Readout, endpoint, **alice) as receiver:
                receiver.wait_ready(5)
            assert program.stop() == 0
