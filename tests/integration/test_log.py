"""From a relay through the bridge into a real NATS server's log, and out of it again, on loopback."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
import urllib.request

import nats
import pytest
from nats.js.api import DiscardPolicy, StreamConfig

from astropix_relay.configuration.loading import load_config
from astropix_stream.counting.places import Place
from astropix_stream.counting.state import State
from astropix_stream.errors import ConfigError, ReceiveTimeout, RefusedError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver
from logs import BRIDGE, Server, bridge
from ports import free_port
from programs import Program
from relays import running

APX = (sys.executable, "-m", "astropix_stream.cli")


@pytest.fixture
def relay(group, port):
    stream = {"group": group, "port": port, "interface": "127.0.0.1", "notes": {"HV": "-150 V"}}
    config = load_config(json.dumps({"streams": [stream], "publish": {"endpoint": "tcp://127.0.0.1:0"}}))
    with running(config) as relay:
        yield relay


@pytest.fixture
def source(relay):
    return relay.publisher.endpoint


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path) as server:
        yield server


def send(sender, begin, end):
    for i in range(begin, end):
        sender.send_readout(AstroPix4Readout(b"\xbc\x01" * (i % 40), i))


def opened(server, start="oldest", timeout=10, more=""):
    receiver = open_receiver(AstroPix4Readout, f"{server.url}?start={start}{more}", timeout=timeout)
    receiver.wait_ready(10)
    return receiver


def ids(receiver, count):
    return [receiver.receive().readout_id for _ in range(count)]


def ask(server, what):
    """Run a coroutine function with a client's JetStream context."""

    async def run():
        client = await nats.connect(server.url)
        try:
            return await what(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(run())


def test_every_readout_is_stored_once_and_read_from_any_start(tmp_path, source, server, sender):
    with bridge(tmp_path, source, server.url), opened(server, "oldest") as first:
        send(sender, 0, 500)
        assert ids(first, 500) == list(range(500))  # as it comes
        assert first.state is State.LIVE
        assert (first.ledger.delivered, first.ledger.lost) == (500, 0)
        assert first.readout_uid == 4000
        with (
            opened(server, "oldest") as late,
            opened(server, "live") as live,
            opened(server, "100") as last,
        ):
            assert ids(late, 500) == list(range(500))
            assert ids(last, 100) == list(range(400, 500))
            assert last.ledger.before_joining == 400
            send(sender, 500, 600)  # without a seam
            for receiver in (first, late, live, last):
                assert ids(receiver, 100) == list(range(500, 600))
                assert receiver.ledger.lost == 0
            while not late.notes:  # until the next heartbeat
                with contextlib.suppress(ReceiveTimeout):
                    late.receive_batch(timeout=0.1)
            assert late.notes == {"HV": "-150 V"}


def test_a_time_to_begin_with(tmp_path, source, server, sender):
    with bridge(tmp_path, source, server.url), opened(server) as receiver:
        send(sender, 0, 50)
        assert ids(receiver, 50) == list(range(50))
        between = time.time()
        send(sender, 50, 60)
        assert ids(receiver, 10) == list(range(50, 60))
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(between)) + f".{between % 1 * 1e6:06.0f}"
        with opened(server, when) as later:
            assert ids(later, 10) == list(range(50, 60))


def test_each_message_is_as_documented(tmp_path, source, server, sender):
    with bridge(tmp_path, source, server.url, batch="50ms"), opened(server) as receiver:
        send(sender, 0, 40)
        ids(receiver, 40)

    async def first(context):
        return await context.get_msg("APX_astropix", 1), (await context.stream_info("APX_astropix")).config

    message, config = ask(server, first)
    assert config.subjects == ["apx.local.astropix.data"]
    assert message.subject == "apx.local.astropix.data"
    assert message.data[:5] == b"APXR\x01"
    relay_id = int.from_bytes(message.data[8:16], "little")
    count = int.from_bytes(message.data[6:8], "little")
    assert message.headers["Nats-Msg-Id"] == f"{relay_id}:0"
    assert message.headers["Apx-Count"] == str(count)
    assert message.headers["Apx-Readout-Uid"] == "4000"
    assert message.headers["Apx-Source"].startswith("127.0.0.1:")
    assert message.data[56:].startswith(AstroPix4Readout(b"", 0).to_bytes()[:7])


def test_a_bridge_that_is_killed_goes_on_where_it_was(tmp_path, source, server, sender):
    with bridge(tmp_path, source, server.url), opened(server) as receiver:
        send(sender, 0, 100)
        ids(receiver, 100)
    send(sender, 100, 300)  # while there is none
    with bridge(tmp_path, source, server.url), opened(server) as receiver:
        assert ids(receiver, 300) == list(range(300))
        send(sender, 300, 310)
        assert ids(receiver, 10) == list(range(300, 310))
        assert receiver.ledger.lost == 0
    assert stored_numbers(server) == list(range(310))


def test_a_hub_mirrors_what_a_beam_line_has(tmp_path, source, sender):
    (tmp_path / "hub").mkdir()
    at_hub = Server(tmp_path / "hub")
    at_hub.jetstream += ", domain: hub"
    leaf_port = free_port(socket.SOCK_STREAM)
    at_hub.more = f"leafnodes {{ listen: '127.0.0.1:{leaf_port}' }}"
    there = Server(tmp_path, f"leafnodes {{ remotes: [{{ url: 'nats://127.0.0.1:{leaf_port}' }}] }}")
    there.jetstream += ", domain: beamline"
    config = {"mirror": "beamline", "nats": {"servers": [at_hub.url]}, "metrics": {"listen": None}}
    file = tmp_path / "mirror.json"
    file.write_text(json.dumps(config))
    with at_hub, there, bridge(tmp_path, source, there.url), opened(there) as receiver:
        send(sender, 0, 100)
        ids(receiver, 100)
        with Program(*BRIDGE, file) as mirroring:
            mirroring.wait_for("made APX_astropix in the log, a mirror of beamline's")
            with opened(at_hub) as reader:
                assert ids(reader, 100) == list(range(100))
                while not reader.notes:  # the heartbeats are mirrored, too
                    with contextlib.suppress(ReceiveTimeout):
                        reader.receive_batch(timeout=0.1)
            mirroring.send_signal(signal.SIGTERM)
            assert mirroring.wait() == 0
        file.write_text(json.dumps({**config, "mirror": "elsewhere", "streams": ["astropix"]}))
        with Program(*BRIDGE, file) as mirroring:  # it is not taken from its beam line by mistake
            mirroring.wait_for("APX_astropix of this log is a mirror of $JS.beamline.API")
            assert mirroring.wait() == 1


def stored_numbers(server):
    """Return the relay's numbers in the log, in the log's order."""

    async def read(context):
        state = (await context.stream_info("APX_astropix")).state
        numbers = []
        for sequence in range(state.first_seq, state.last_seq + 1):
            data = (await context.get_msg("APX_astropix", sequence)).data
            first = int.from_bytes(data[16:24], "little")
            numbers += range(first, first + int.from_bytes(data[6:8], "little"))
        return numbers

    return ask(server, read)


def test_a_server_that_is_killed_is_waited_for(tmp_path, source, server, sender):
    with bridge(tmp_path, source, server.url) as program, opened(server) as receiver:
        send(sender, 0, 100)
        ids(receiver, 100)
        server.kill()
        send(sender, 100, 200)
        with pytest.raises(ReceiveTimeout):
            receiver.receive(timeout=0.5)
        program.wait_for("the connection ended")
        assert receiver.state is State.NO_LOG
        server.start()
        assert ids(receiver, 100) == list(range(100, 200))
        assert receiver.state is State.LIVE
    assert stored_numbers(server) == list(range(200))


def test_a_stream_that_is_deleted_by_hand_is_made_again(tmp_path, source, server, sender):
    with bridge(tmp_path, source, server.url) as program, opened(server) as receiver:
        send(sender, 0, 100)
        ids(receiver, 100)
        ask(server, lambda context: context.delete_stream("APX_astropix"))
        send(sender, 100, 150)
        program.wait_for("no log")
        program.wait_for("made APX_astropix")
        assert ids(receiver, 50) == list(range(100, 150))
        assert receiver.ledger.lost == 0
    assert stored_numbers(server) == list(range(150))  # what the relay's history had


def test_a_full_disk(tmp_path, source, sender):
    server = Server(tmp_path)
    server.jetstream = "max_file: 1M"
    with server, bridge(tmp_path, source, server.url) as program, opened(server) as receiver:
        filling = AstroPix4Readout(b"\x01" * 60_000, 0)
        for i in range(40):
            sender.send_readout(AstroPix4Readout(filling.data(), i))
        assert "full, or its limit" in program.wait_for("no log: ")
        got = 0
        with contextlib.suppress(ReceiveTimeout):
            while True:
                assert receiver.receive(timeout=1).readout_id == got
                got += 1
        assert 0 < got < 40
        server.kill()
        server.jetstream = "max_file: 1G"
        server.start()
        assert ids(receiver, 40 - got) == list(range(got, 40))
        assert receiver.ledger.lost == 0


def test_a_limit_that_is_raised(tmp_path, source, server, sender):
    made = StreamConfig(name="APX_astropix", subjects=["apx.local.astropix.data"], discard=DiscardPolicy.NEW)
    ask(server, lambda context: context.add_stream(made.evolve(max_bytes=300_000)))
    with bridge(tmp_path, source, server.url) as program:
        for i in range(10):
            sender.send_readout(AstroPix4Readout(b"\x01" * 60_000, i))
        program.wait_for("it does not take a message: the log's disk is full, or its limit is reached")
        ask(server, lambda context: context.update_stream(made.evolve(max_bytes=-1)))
        program.wait_for("stored again")
    assert stored_numbers(server) == list(range(10))


def test_readouts_that_were_removed_are_no_longer_kept(tmp_path, source, server, sender):
    with bridge(tmp_path, source, server.url, keep={"size": "1MiB"}), opened(server) as receiver:
        for i in range(60):
            sender.send_readout(AstroPix4Readout(b"\x01" * 60_000, i))
            assert receiver.receive().readout_id == i
        with opened(server) as late:
            first = late.receive().readout_id
            assert first > 40
            assert late.ledger.lost_at == {Place.NO_LONGER_KEPT: first}
            assert "no longer kept" in str(late.ledger)


USERS = """
authorization {{ users = [
  {{ user: bridge, password: "{bridge}" }}
  {{ user: monitor, password: m, permissions: {{
      publish: ["$JS.API.STREAM.INFO.APX_astropix", "$JS.API.STREAM.NAMES",
                "$JS.API.CONSUMER.CREATE.APX_astropix",
                "$JS.API.CONSUMER.MSG.NEXT.APX_astropix.>", "$JS.API.CONSUMER.DELETE.APX_astropix.>",
                "$JS.API.STREAM.MSG.GET.*"]
      subscribe: ["_INBOX.>", "apx.>"] }} }}
  {{ user: nobody, password: n, permissions: {{ publish: {{ deny: ">" }}, subscribe: ["_INBOX.>"] }} }}
] }}
"""


def with_user(server, user, password):
    return f"nats://{user}:{password}@127.0.0.1:{server.port}?stream=astropix&start=oldest"


def test_credentials(tmp_path, source, sender):
    secret = tmp_path / "password"
    secret.write_text("b\n")
    nats_keys = {"user": "bridge", "password_file": str(secret)}
    with Server(tmp_path, USERS.format(bridge="b")) as server:
        keys = {"nats": {"servers": [server.url], **nats_keys}}
        with bridge(tmp_path, source, **keys) as program:
            monitor = open_receiver(AstroPix4Readout, with_user(server, "monitor", "m"), timeout=10)
            with monitor:
                monitor.wait_ready(10)
                assert "m@" not in str(monitor)
                send(sender, 0, 20)
                assert ids(monitor, 20) == list(range(20))
                with open_receiver(AstroPix4Readout, with_user(server, "monitor", "wrong")) as refused:
                    with pytest.raises(RefusedError, match=r"refuses this client: .*Authorization Violation"):
                        refused.wait_ready(10)
                with open_receiver(AstroPix4Readout, with_user(server, "nobody", "n")) as forbidden:
                    with pytest.raises(ReceiveTimeout, match="permissions do not allow it"):
                        forbidden.wait_ready(8)
                server.reload(USERS.format(bridge="revoked"))
                program.wait_for("refuses this client")
                send(sender, 20, 40)
                server.reload(USERS.format(bridge="b"))
                assert ids(monitor, 20) == list(range(20, 40))
                assert monitor.ledger.lost == 0


def test_where_there_is_no_log(tmp_path, server):
    with open_receiver(AstroPix4Readout, f"{server.url}?stream=astropix") as receiver:
        with pytest.raises(ReceiveTimeout, match="the log has no stream APX_astropix"):
            receiver.wait_ready(1)
        assert receiver.state is State.NO_LOG
    server.kill()
    with open_receiver(AstroPix4Readout, server.url) as receiver:
        with pytest.raises(ReceiveTimeout, match="nothing listens there"):
            receiver.wait_ready(1)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nats://h?start=yesterday", "start is 'live', 'oldest', a number of readouts or a time"),
        ("nats://h?site=a.b", "cannot be a site's name"),
        ("nats://h?creds=/nowhere", "cannot read /nowhere: No such file"),
        ("nats://h?user=a", "user needs a password"),
        ("nats://a:b@h?nkey=/etc/hostname", "give one of creds, nkey and user, not nkey and user"),
        ("nats://h?ca=/etc/hostname", "not a certificate"),
    ],
)
def test_a_wrong_url_is_told_at_once(url, words):
    with pytest.raises(ConfigError, match=words):
        open_receiver(AstroPix4Readout, url)


def test_two_bridges_store_each_readout_once(tmp_path, source, server, sender):
    """Such as one that systemd started again while the old one still hangs on."""
    (tmp_path / "second").mkdir()
    with bridge(tmp_path, source, server.url), bridge(tmp_path / "second", source, server.url):
        with opened(server) as receiver:
            for begin in range(0, 1000, 50):
                send(sender, begin, begin + 50)
                assert ids(receiver, 50) == list(range(begin, begin + 50))
            assert receiver.ledger.lost == 0
    assert stored_numbers(server) == list(range(1000))


def test_a_multicast_group_is_stored_too(tmp_path, server, group, port, sender):
    source = f"udp://{group}:{port}?interface=127.0.0.1"
    with bridge(tmp_path, source, server.url, streams=["astropix"]), opened(server) as receiver:
        wait_until_it_receives(sender, receiver)
        send(sender, 1, 200)
        assert ids(receiver, 199) == list(range(1, 200))
        assert receiver.report["joined"] is True


def wait_until_it_receives(sender, receiver):
    while True:
        send(sender, 0, 1)
        with contextlib.suppress(ReceiveTimeout):
            receiver.receive(timeout=0.3)
            with contextlib.suppress(ReceiveTimeout):
                while receiver.receive(timeout=0.3):
                    pass
            return


def test_asyncio(tmp_path, source, server, sender):
    async def first(receiver):
        readable = asyncio.Event()
        asyncio.get_running_loop().add_reader(receiver.fileno(), readable.set)
        while True:
            await asyncio.wait_for(readable.wait(), 10)
            with contextlib.suppress(ReceiveTimeout):
                return receiver.receive(timeout=0)
            readable.clear()

    with bridge(tmp_path, source, server.url), opened(server) as receiver:
        send(sender, 7, 8)
        assert asyncio.run(first(receiver)).readout_id == 7


def test_the_commands_take_a_log(tmp_path, source, server, sender):
    url = f"{server.url}?stream=astropix"
    with bridge(tmp_path, source, server.url), opened(server) as receiver:
        send(sender, 0, 100)
        ids(receiver, 100)
        with Program(*APX, "receive", f"{url}&start=oldest", "--count", "100", "--timeout", "10") as program:
            assert program.wait() == 0
            assert "nothing lost of 100" in program.stdout + program.stderr
        recording = tmp_path / "shift.apx"
        until = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 1))
        with Program(*APX, "record", url, recording, "--from", "oldest", "--to", until) as program:
            assert program.wait() == 0
            assert "recorded 100 readouts" in program.stdout
        with Program(*APX, "top", f"{url}&start=oldest", "--seconds", "2", "--json") as program:
            assert program.wait() == 0
            assert json.loads(program.stdout.splitlines()[-1])["delivered"] == 100
        with Program(*APX, "doctor", url) as program:
            assert program.wait() == 0
            assert "astropix has" in program.stdout
        with Program(*APX, "doctor", f"{server.url}?stream=other") as program:
            assert program.wait() == 1
            assert "the log has no stream 'other'; it has: astropix" in program.stdout
    server.kill()
    with Program(*APX, "doctor", url) as program:
        assert program.wait() == 1
        assert "nothing listens there" in program.stdout


def test_record_says_what_from_and_to_are_for(tmp_path):
    for option, value in (("--from", "oldest"), ("--to", "2026-11-28T10:00")):
        with Program(*APX, "record", "tcp://h:1", tmp_path / "x.apx", option, value) as program:
            assert program.wait() == 2
            assert f"{option} is for a log" in program.stderr


def test_the_bridge_is_watched_and_reloaded(tmp_path, source, server, sender):
    from ports import free_port

    port = free_port(1)
    with bridge(tmp_path, source, server.url, metrics={"listen": f"127.0.0.1:{port}"}) as program:
        with opened(server) as receiver:
            send(sender, 0, 30)
            ids(receiver, 30)

        def get(path):
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5).read().decode()

        end_s = time.monotonic() + 10
        while 'stored_readouts_total{stream="astropix"} 30.0' not in get("metrics"):
            assert time.monotonic() < end_s
            time.sleep(0.1)
        assert get("healthz").splitlines()[0] == "ok"
        file = tmp_path / "bridge.json"
        config = json.loads(file.read_text())
        file.write_text(json.dumps({**config, "batch": "0s", "site": "other"}))
        program.send_signal(signal.SIGHUP)
        program.wait_for("site: the change waits for a restart")
        program.wait_for("reloaded")
        file.write_text("batch: never")
        program.send_signal(signal.SIGHUP)
        program.wait_for("reload refused")
        assert program.stop() == 0
    assert os.listdir(tmp_path)


def test_another_sites_stream_is_not_filled_by_mistake(tmp_path, source, server, sender):
    with bridge(tmp_path, source, server.url), opened(server) as receiver:
        send(sender, 0, 10)
        ids(receiver, 10)
    with bridge(tmp_path, source, server.url, site="elsewhere") as program:
        assert "is for other subjects (apx.local.astropix.data)" in program.wait_for("no log")
