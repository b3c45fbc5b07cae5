"""Relays that are fed by relays, on the loopback interface: the same numbers at every depth."""

import contextlib
import json
import time

import pytest
import zmq

from astropix_relay.configuration.loading import load_config
from astropix_stream import keys, wire
from astropix_stream.batch import Position
from astropix_stream.counting.hops import parse_hops
from astropix_stream.counting.state import State
from astropix_stream.doctor.examination import examine_relay
from astropix_stream.errors import ReceiveTimeout, RefusedError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay.receiver import RelayReceiver
from astropix_stream.sock import MulticastReceiver
from astropix_stream.url import parse_url
from ports import free_port_pair
from relays import running
from zmtp import Peer


def config(*streams, port=0, more=""):
    lines = "".join(f"\n- {stream}" for stream in streams)
    publish = f"publish: {{endpoint: 'tcp://127.0.0.1:{port}'}}\nmetrics: {{listen: null}}\n"
    return load_config(f"{publish}{more}\nstreams:{lines}\n")


def first_relay(group, port, tcp_port=0):
    stream = f"{{group: {group}, port: {port}, interface: 127.0.0.1, readout_uid: 4000, stride: 2}}"
    return running(config(stream, port=tcp_port))


def cascade(*relays, port=0, more=""):
    urls = ", ".join(f"'{relay if isinstance(relay, str) else relay.publisher.endpoint}'" for relay in relays)
    return running(config(f"{{from: [{urls}]}}", port=port, more=more))


@contextlib.contextmanager
def receiver_of(relay, **options):
    endpoint = relay if isinstance(relay, str) else relay.publisher.endpoint
    with RelayReceiver(AstroPix4Readout, endpoint, timeout=5, **options) as receiver:
        receiver.wait_ready(8)
        yield receiver


def send(sender, ids):
    for i in ids:
        sender.send_readout(AstroPix4Readout(bytes([i % 255]) * (i % 90), i))


def batches(receiver, count):
    """Return the next readouts as (relay_id, sequence, source, bytes)."""
    found = []
    while len(found) < count:
        batch = receiver.receive_batch()
        for i, data in enumerate(batch.datagrams()):
            found.append((batch.position.relay_id, batch.position.sequence + i, batch.source, data))
    return found


@pytest.fixture
def origin(group, port):
    with first_relay(group, port) as relay:
        yield relay


def test_a_readout_keeps_its_number_its_source_and_its_bytes_at_the_third_hop(origin, sender):
    with (
        cascade(origin) as second,
        cascade(second) as third,
        receiver_of(origin) as a,
        receiver_of(third) as b,
    ):
        send(sender, range(0, 2000, 2))
        assert batches(b, 1000) == batches(a, 1000)
        assert (b.ledger.lost, b.ledger.delivered, b.stride) == (0, 1000, 2)
        assert b.position == Position(origin.relay_id, 1000)
        hops = parse_hops(wait_for_report(b, lambda report: report["received"] == 1000))
        assert [hop.id for hop in hops] == [origin.relay_id, second.relay_id, third.relay_id]
        assert [hop.fed_by for hop in hops] == [(), (origin.relay_id,), (second.relay_id,)]
        assert hops[1].address == second.publisher.endpoint


def wait_for_report(receiver, condition, timeout=15):
    """Receive until the relay's report is so; what comes meanwhile is dropped."""
    deadline = time.monotonic() + timeout
    while receiver.report is None or not condition(receiver.report):
        assert time.monotonic() < deadline, receiver.report
        with contextlib.suppress(ReceiveTimeout):
            receiver.receive_batch(timeout=0.05)
    return receiver.report


def test_who_comes_late_gets_what_the_origin_holds_hop_by_hop(origin, sender):
    with receiver_of(origin) as first:
        send(sender, range(0, 1000, 2))
        sent = batches(first, 500)
        with cascade(origin) as second, cascade(second) as third:
            with receiver_of(third) as live:
                assert live.position.sequence == 500  # the past is for those who ask
            with receiver_of(third, start="oldest") as late:
                first_of_page = late.receive_batch()
                # Others of its page wait in the receiver, and are not delivered yet.
                assert late.position.sequence == first_of_page.position.sequence + len(first_of_page)
                assert batches(late, 500 - len(first_of_page)) == sent[len(first_of_page) :]
                assert late.ledger.recovered == 500


def test_before_a_relay_above_was_heard_the_stream_is_not_there(tcp_port):
    with cascade(f"tcp://127.0.0.1:{tcp_port}") as second, zmq.Context() as context:
        with context.socket(zmq.SUB) as plain:
            plain.rcvtimeo = 2500  # a heartbeat comes each second
            plain.subscribe(b"")
            plain.connect(second.publisher.endpoint)
            topic, _, hello = plain.recv().partition(b"\0")
            assert topic == b"apx/hello"
            assert json.loads(hello)["streams"] == {}
            with pytest.raises(zmq.Again):
                plain.recv_multipart()


def test_a_hello_that_changes_between_welcome_and_subscription_is_heard(group, port, tcp_port):
    """It is told the hello of before, and subscribes a moment after the others were told the new."""
    with contextlib.ExitStack() as opened:
        second = opened.enter_context(cascade(f"tcp://127.0.0.1:{tcp_port}"))
        peer = opened.enter_context(Peer(second.publisher.endpoint, timeout=3))
        peer.shake_hands()
        opened.enter_context(first_relay(group, port, tcp_port))
        opened.enter_context(receiver_of(second))  # until the others are told: it knows no stream's name
        peer.subscribe(wire.HELLO_TOPIC)
        heard = b""
        while b'"readout_uid":4000' not in heard:
            heard += peer.recv(4096)  # TimeoutError if it is told no more
        for _ in range(10):  # which makes the relay tell nobody again
            peer.unsubscribe(wire.HELLO_TOPIC)
            peer.subscribe(wire.HELLO_TOPIC)
        with pytest.raises(TimeoutError):
            peer.recv(4096)


def test_relays_that_start_in_the_wrong_order_say_what_they_wait_for(group, port, sender):
    ports = [free_port_pair() for _ in range(3)]
    urls = [f"tcp://127.0.0.1:{number}" for number in ports]
    with cascade(urls[1], port=ports[2]) as third, RelayReceiver(AstroPix4Readout, urls[2]) as receiver:
        with cascade(urls[0], port=ports[1]):
            found = wait_for_verdict(urls[2], "itself waits", f"from {urls[0]} (nothing answers there")
            assert f"from {urls[1]} (the relay itself waits" in found.text
            assert found.command == f"apx doctor {urls[1]}"
            with pytest.raises(ReceiveTimeout, match="the relay itself waits for the stream: from tcp"):
                receiver.wait_ready(0.5)
            with first_relay(group, port, ports[0]):
                receiver.wait_ready(15)
                send(sender, range(0, 20, 2))
                assert len(batches(receiver, 10)) == 10
                assert third.streams[0].waits_for == ""


def wait_for_verdict(url, *words, timeout=15):
    deadline = time.monotonic() + timeout
    while True:
        verdicts = examine_relay(parse_url(url))
        for verdict in verdicts:
            if all(word in verdict.text for word in words):
                return verdict
        assert time.monotonic() < deadline, [verdict.text for verdict in verdicts]


def test_the_past_is_not_published_as_if_it_were_live(origin, sender):
    with receiver_of(origin) as first, zmq.Context() as context, context.socket(zmq.SUB) as plain:
        send(sender, range(0, 200, 2))
        batches(first, 100)
        tcp_port = free_port_pair()
        plain.rcvtimeo = 8000
        plain.subscribe(b"apx/astropix/data")
        plain.connect(f"tcp://127.0.0.1:{tcp_port}")
        with cascade(origin, port=tcp_port) as second:
            with receiver_of(second):
                for begin in range(200, 800, 10):  # until the subscription has come
                    send(sender, range(begin, begin + 10, 2))
                    if plain.poll(200):
                        break
            header = wire.parse_message_header(plain.recv_multipart()[1])
            assert (header.sequence >= 100, header.flags) == (True, 0)


def test_a_client_goes_from_one_relay_to_another_of_the_same_origin(origin, sender):
    with cascade(origin) as one, cascade(origin) as other:
        with receiver_of(one) as receiver:
            send(sender, range(0, 200, 2))
            before = batches(receiver, 100)
            at = receiver.position
        send(sender, range(200, 400, 2))
        with receiver_of(other, start=at) as receiver:
            send(sender, range(400, 600, 2))
            after = batches(receiver, 200)
    assert [sequence for _, sequence, _, _ in before + after] == list(range(300))
    assert {relay_id for relay_id, *_ in before + after} == {origin.relay_id}


def test_of_two_ways_to_one_origin_either_may_die(origin, sender):
    with contextlib.ExitStack() as left, contextlib.ExitStack() as right:
        a, b = left.enter_context(cascade(origin)), right.enter_context(cascade(origin))
        with cascade(a, b) as last, receiver_of(last) as receiver:
            send(sender, range(0, 200, 2))
            found = batches(receiver, 100)
            hops = parse_hops(wait_for_report(receiver, lambda report: len(report["hops"]) == 4))
            assert hops[-1].fed_by == (a.relay_id, b.relay_id)  # a diamond: no loop
            left.close()
            send(sender, range(200, 400, 2))
            found += batches(receiver, 100)
            assert [sequence for _, sequence, _, _ in found] == list(range(200))
            assert receiver.ledger.lost == 0
            right.close()
            wait_for_report(receiver, lambda report: report["state"] == "upstream lost")
            assert receiver.state is State.UPSTREAM_LOST


def test_an_origin_that_was_restarted_numbers_from_0_and_its_history_is_another(
    group, port, tcp_port, sender
):
    with cascade(f"tcp://127.0.0.1:{tcp_port}") as second:
        with contextlib.ExitStack() as first:
            origin = first.enter_context(first_relay(group, port, tcp_port))
            receiver = first.enter_context(receiver_of(second))
            send(sender, range(0, 100, 2))
            assert batches(receiver, 50)[-1][:2] == (origin.relay_id, 49)
        with first_relay(group, port, tcp_port) as origin, receiver_of(second) as receiver:
            wait_for_report(receiver, lambda _: receiver.position.relay_id == origin.relay_id)
            send(sender, range(100, 200, 2))
            assert [found[:2] for found in batches(receiver, 50)] == [(origin.relay_id, i) for i in range(50)]
            with receiver_of(second, start="oldest") as late:
                assert [found[:2] for found in batches(late, 50)] == [(origin.relay_id, i) for i in range(50)]


def test_two_origins_are_merged_and_numbered_afresh(group, port, sender):
    with first_relay(group, port) as a, first_relay(group, port) as b:
        send(sender, range(0, 20, 2))  # both number from 0: to join at 0 and to follow a restart look alike
        with receiver_of(a) as at_a, receiver_of(b) as at_b:
            wait_for_report(at_a, lambda report: report["received"] == 10)
            wait_for_report(at_b, lambda report: report["received"] == 10)
        with cascade(a, b) as merged, receiver_of(merged) as receiver:
            report = wait_for_report(receiver, lambda report: report.get("numbering") == "own")
            assert receiver.position.relay_id == merged.relay_id
            send(sender, range(100, 300, 2))
            found = batches(receiver, 100)
            assert {relay_id for relay_id, *_ in found} == {merged.relay_id}
            assert [AstroPix4Readout.from_bytes(data).readout_id for *_, data in found] == list(
                range(100, 300, 2)
            )
            with pytest.raises(ReceiveTimeout):
                receiver.receive_batch(timeout=0.5)
            assert len(report["hops"]) == 3


def output(group, port, **keys):
    options = {"multicast": f"'{group}:{port}'", "interface": "127.0.0.1", "ttl": 0, **keys}
    return "outputs: [{" + ", ".join(f"{key}: {value}" for key, value in options.items()) + "}]"


def far(group, second="255"):
    return f"239.{second}." + group.split(".", 2)[2]


def direct(group, port):
    return MulticastReceiver(AstroPix4Readout, group, port, interface="127.0.0.1", timeout=5, stride=2)


def test_a_program_that_knows_only_multicast_gets_every_byte(origin, group, port, sender):
    with (
        direct(far(group), port) as receiver,
        cascade(origin, more=output(far(group), port)) as second,
        receiver_of(second) as relayed,
    ):
        send(sender, range(0, 1000, 2))
        found = []
        while len(found) < 500:
            found += receiver.receive_batch().datagrams()
        assert found == [data for *_, data in batches(relayed, 500)]
        (outlet,) = second.outlets.all
        assert (outlet.sent, outlet.not_sent.total(), outlet.pacer.skipped) == (500, 0, 0)


def test_an_output_that_comes_back_is_stopped_and_says_which_way(group, port, tcp_port, sender):
    """The relay above joins the far group, too, as a second stream that the same cascade takes."""
    streams = (
        f"{{name: astropix, group: {group}, port: {port}, interface: 127.0.0.1}}",
        f"{{name: far, group: {far(group)}, port: {port}, interface: 127.0.0.1}}",
    )
    with running(config(*streams)) as above:
        url = above.publisher.endpoint
        more = output(far(group), port)
        looping = config(f"{{name: astropix, from: ['{url}']}}", f"{{name: far, from: ['{url}']}}", more=more)
        with running(looping) as second, receiver_of(second, stream="astropix") as receiver:
            send(sender, range(10))
            report = wait_for_report(receiver, lambda report: "a loop: what we send" in report["membership"])
            (outlet,) = second.outlets.all
            assert outlet.stopped
            assert f"what we send to {far(group)}:{port} comes back in stream far" in report["membership"]


def test_a_ring_of_two_outputs_ends_though_each_is_another_source(group, port, sender):
    """Group - relay - cascade with an output - its group - relay - cascade with an output to the first."""
    with contextlib.ExitStack() as opened:
        near = opened.enter_context(first_relay(group, port))
        out = opened.enter_context(cascade(near, more=output(far(group), port)))
        beyond = opened.enter_context(first_relay(far(group), port))
        back = opened.enter_context(cascade(beyond, more=output(group, port)))
        receiver = opened.enter_context(receiver_of(out))
        opened.enter_context(receiver_of(back)).close()
        for i in range(0, 400, 2):  # 1 s, in the first of which outputs let few pass
            send(sender, [i])
            time.sleep(0.005)
        words = f"a loop: what we send to {far(group)}:{port} comes back in stream astropix, passed on by"
        wait_for_report(receiver, lambda report: words in report["membership"])
        assert [relay.outlets.all[0].stopped for relay in (out, back)] == [True, False]
        core = near.streams[0].core
        wait_for_report(receiver, lambda report: report["sources"][0]["received"] == 200)
        send(sender, range(400, 500, 2))
        wait_for_report(receiver, lambda report: report["sources"][0]["received"] == 250)
        numbered = core.sequence
        assert 250 < numbered < 250 + 100
        time.sleep(0.3)  # nothing more comes round
        assert core.sequence == numbered


def test_two_outputs_onto_one_group_are_a_diamond_and_no_loop(group, port, sender):
    """Behind them, each readout comes twice, from two sources, whatever a further output sends."""
    last = far(group, "253")
    with contextlib.ExitStack() as opened:
        near = opened.enter_context(first_relay(group, port))
        for _ in range(2):
            feeds = opened.enter_context(cascade(near, more=output(far(group), port)))
            opened.enter_context(receiver_of(feeds)).close()
        beyond = opened.enter_context(first_relay(far(group), port))
        relay = opened.enter_context(cascade(beyond, more=output(last, port)))
        receiver = opened.enter_context(direct(last, port))
        for i in range(0, 600, 2):
            send(sender, [i])
            time.sleep(0.005)
        found = []
        while len(found) < 300:
            found += [
                AstroPix4Readout.from_bytes(data).readout_id for data in receiver.receive_batch().datagrams()
            ]
        assert found == list(range(0, 600, 2))
        (outlet,) = relay.outlets.all
        assert (outlet.stopped, outlet.sent, outlet.echoes.count) == (False, 300, 300)


def test_a_relay_that_is_fed_by_itself_stops_that_input(origin, tcp_port, sender):
    upper = f"tcp://127.0.0.1:{tcp_port}"
    with cascade(f"{upper}") as lower:
        urls = f"'{origin.publisher.endpoint}', '{lower.publisher.endpoint}'"
        with running(config(f"{{from: [{urls}]}}", port=tcp_port)) as circle, receiver_of(circle) as receiver:
            report = wait_for_report(
                receiver, lambda report: "a loop: it is fed by us" in report["membership"]
            )
            assert f"{lower.publisher.endpoint} (a loop" in report["membership"]
            send(sender, range(0, 100, 2))
            assert len(batches(receiver, 50)) == 50
            with pytest.raises(ReceiveTimeout):
                receiver.receive_batch(timeout=0.5)


@contextlib.contextmanager
def ring(count, *origins):
    """Yield relays that are each fed by the one before, the first one also by `origins` and the last one."""
    ports = [free_port_pair() for _ in range(count)]
    urls = [f"tcp://127.0.0.1:{number}" for number in ports]
    with contextlib.ExitStack() as opened:
        first = opened.enter_context(cascade(*origins, urls[-1], port=ports[0]))
        below = [opened.enter_context(cascade(urls[i - 1], port=ports[i])) for i in range(1, count)]
        yield [first, *below]


def stopped(relay):
    return list(relay.streams[0].inlet.stopped.values())


def test_in_a_ring_of_four_only_the_relay_with_another_way_in_leaves_one_out(origin, sender):
    with ring(4, origin) as relays, receiver_of(relays[-1]) as receiver:
        wait_for_report(receiver, lambda _: stopped(relays[0]))
        way = " -> ".join(relay.publisher.endpoint for relay in (*relays, relays[0]))
        assert way in stopped(relays[0])[0]
        send(sender, range(0, 100, 2))
        assert len(batches(receiver, 50)) == 50
        wait_for_report(receiver, lambda report: len(report["hops"]) == 5)
        assert [stopped(relay) for relay in relays[1:]] == [[], [], []]


def test_a_ring_that_nothing_feeds_says_so(tcp_port):
    with ring(3, f"tcp://127.0.0.1:{tcp_port}") as relays:  # what is to feed it does not run
        found = wait_for_verdict(relays[2].publisher.endpoint, "a loop: it is fed by us")
        assert found.fault == "stream-waits"
        assert [len(stopped(relay)) for relay in relays] == [1, 0, 0]
    with ring(2) as relays:
        wait_for_verdict(relays[0].publisher.endpoint, "a loop: it is fed by us")


def test_keys_on_both_sides_of_a_cascade(group, port, sender, tmp_path):
    """The relay above asks for keys, which stand in `from`; the cascade asks its own clients for others."""
    for name in ("upper", "lower", "roma", "monitor", "mallory"):
        keys.write_pair(tmp_path, name)
    for relay, client in (("upper", "roma"), ("lower", "monitor")):
        (tmp_path / f"{relay}-clients").mkdir()
        (tmp_path / f"{relay}-clients" / f"{client}.key").write_bytes(
            (tmp_path / f"{client}.key").read_bytes()
        )

    def security(relay):
        clients, secret = tmp_path / f"{relay}-clients", tmp_path / f"{relay}.key_secret"
        return f"security: {{client_keys: '{clients}', secret_key: '{secret}'}}"

    def pair(relay, client):
        return {
            "server_key": str(tmp_path / f"{relay}.key"),
            "key_file": str(tmp_path / f"{client}.key_secret"),
        }

    stream = f"{{group: {group}, port: {port}, interface: 127.0.0.1}}"
    with running(config(stream, more=security("upper"))) as upper:

        def below(client):
            query = "&".join(f"{key}={value}" for key, value in pair("upper", client).items())
            return config(f"{{from: ['{upper.publisher.endpoint}?{query}']}}", more=security("lower"))

        with running(below("roma")) as lower, receiver_of(lower, **pair("lower", "monitor")) as receiver:
            send(sender, range(100))
            assert len(batches(receiver, 100)) == 100
            with pytest.raises(RefusedError, match="key"), receiver_of(lower, **pair("lower", "mallory")):
                pass
        with running(below("mallory")) as lower:
            deadline = time.monotonic() + 10
            while "refuses this client" not in lower.streams[0].inlet.membership:
                assert time.monotonic() < deadline, lower.streams[0].inlet.membership
                time.sleep(0.05)
            assert "key_secret" not in lower.streams[0].inlet.membership


def test_the_doctor_goes_the_whole_way(origin, sender):
    with cascade(origin) as second, cascade(second) as third, receiver_of(third) as receiver:
        send(sender, range(10))
        batches(receiver, 10)
        wait_for_report(receiver, lambda report: report["received"] == 10)
        hops = {verdict.check: verdict for verdict in examine_relay(parse_url(third.publisher.endpoint))}[
            "hops"
        ]
        way = " -> ".join(relay.publisher.endpoint for relay in (origin, second, third))
        assert (hops.fault, hops.text) == ("", f"{way}; nothing lost between them")
        origin.stop()
        wait_for_report(receiver, lambda report: report["state"] == "upstream lost")
        verdicts = [v for v in examine_relay(parse_url(second.publisher.endpoint)) if v.fault]
        assert verdicts[0].fault == "upstream-lost"
        assert verdicts[0].command == f"apx doctor {origin.publisher.endpoint}"
