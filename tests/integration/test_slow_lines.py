"""Subscribers behind slow lines, with real relays on loopback: compressed and thinned streams."""

import time

import pytest

from astropix_stream import links, wire
from astropix_stream.counting.hops import parse_hops
from astropix_stream.errors import ConfigError, ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver
from integration.test_cascade import cascade, first_relay, receiver_of, wait_for_report
from network.hosts import wait_until
from zmtp import Peer, frame


@pytest.fixture
def origin(group, port):
    with first_relay(group, port) as relay:
        yield relay


def url(relay, options):
    return f"{relay.publisher.endpoint}?{options}"


def send(sender, ids, size=40):
    for i in ids:
        sender.send_readout(AstroPix4Readout(bytes([i % 7]) * size, i))


def drain(receiver, seconds=0.5):
    """Receive until nothing came for so long."""
    found = []
    while True:
        try:
            found += receiver.receive_batch(timeout=seconds).datagrams()
        except ReceiveTimeout:
            return found


def accounted(ledger):
    return ledger.delivered + ledger.thinned + ledger.lost


def wait_for(receiver, count, timeout_s=10.0):
    """Receive until so many are accounted for."""
    found, deadline = [], time.monotonic() + timeout_s
    while accounted(receiver.ledger) < count:
        assert time.monotonic() < deadline, receiver.ledger
        found += drain(receiver, 0.05)
    return found


def test_compressed_every_byte_comes_and_a_plain_subscriber_sees_nothing_of_it(origin, sender):
    with receiver_of(origin) as plain, receiver_of(origin, compress="zstd") as receiver:
        send(sender, range(0, 1000, 2))
        found = wait_for(receiver, 500)
        assert wait_for(plain, 500) == found
        assert (receiver.ledger.lost, receiver.ledger.thinned) == (0, 0)
        assert receiver.ledger.delivered == 500


def test_nobody_ends_or_holds_the_line_of_another(origin, sender):
    """By ends of subscriptions that it never had, and by several subscriptions to one topic."""
    topic = b"apxz/astropix/data"
    with receiver_of(origin, compress="zstd") as receiver, Peer(origin.publisher.endpoint) as bad:
        bad.shake_hands()
        for begins in (0, 0, 0, 1, 1, 1, 0, 0, 0):
            bad.sendall(frame(bytes([begins]) + topic))
        wait_until(lambda: origin.publisher.subscriptions == 3)
        for _ in range(3):
            bad.sendall(frame(b"\x01" + topic))
        send(sender, range(500))
        assert len(wait_for(receiver, 500)) == 500
        assert receiver.ledger.recovered == 0
    wait_until(lambda: origin.publisher.subscriptions == 0)
    wait_until(lambda: not origin._lines)


def test_what_came_before_comes_from_history_compressed(origin, sender):
    with receiver_of(origin) as plain:
        send(sender, range(0, 2000, 2))
        sent = wait_for(plain, 1000)
    with receiver_of(origin, compress="zstd", start="oldest") as late:
        assert wait_for(late, 1000) == sent
        assert late.ledger.recovered == 1000
    assert origin.archive.requests()["ok"] >= 1


def test_an_answer_is_compressed_only_for_who_asks(origin, sender):
    from astropix_relay.clients.archive import answer_request

    with receiver_of(origin) as plain:
        send(sender, range(0, 2000, 2))
        wait_for(plain, 1000)
    pages = {}
    for flags in (0, wire.ZSTD):
        frame = wire.pack_request(wire.Request(wire.Ask.OLDEST, 1, 0, 0, 0, "astropix", flags))
        deadline = time.monotonic() + 10
        while True:  # what was published is remembered with a later turn
            answer, page = answer_request([frame], origin.relay_id, origin.archive._histories)
            if page or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        assert answer.flags == flags
        pages[flags] = links.decompress(bytes(page)) if flags else bytes(page)
        assert len(page) < len(pages[flags]) / 3 or not flags
    assert pages[0].startswith(pages[wire.ZSTD])


def test_thinned_to_a_bandwidth_and_all_accounted_for(origin, sender):
    with receiver_of(origin, max_bandwidth="64kbit/s") as receiver:
        for begin in range(0, 8000, 400):
            send(sender, range(begin, begin + 400, 2), size=100)
            time.sleep(0.1)
        wait_for(receiver, 4000)
        ledger = receiver.ledger
        assert ledger.lost == 0
        assert ledger.thinned > 2000
        assert ledger.delivered > 30
        assert "thinned out, to save bandwidth" in str(ledger)
        assert ledger.to_json()["thinned"] == ledger.thinned


def test_a_cascade_with_a_bandwidth_numbers_what_it_gets_and_tells_what_was_left_out(origin, sender):
    with (
        receiver_of(origin) as above,
        cascade(url(origin, "max_bandwidth=64kbit/s&compress=zstd")) as second,
        cascade(second) as third,
        receiver_of(third) as receiver,
        receiver_of(second, start="oldest") as late,
    ):
        for begin in range(0, 8000, 400):
            send(sender, range(begin, begin + 400, 2), size=100)
            time.sleep(0.1)
        every = wait_for(above, 4000)
        wait_for_report(
            receiver, lambda report: report["received"] == 4000 and parse_hops(report)[1].thinned is not None
        )
        found = wait_for(receiver, 4000)
        assert late.report["numbering"] == "own"
        ledger = receiver.ledger
        assert (ledger.lost, accounted(ledger)) == (0, 4000)
        assert receiver.position.relay_id == second.relay_id
        assert receiver.position.sequence == ledger.delivered
        hops = parse_hops(receiver.report)
        assert [hop.thinned for hop in hops] == [None, ledger.thinned, None]
        assert set(found) <= set(every)
        drain(late)
        assert late.ledger.delivered == ledger.delivered  # its history has what it has given numbers


def test_a_thinned_cascade_goes_on_with_its_numbers_over_a_reload(origin, sender):
    from integration.test_cascade import config

    slow = url(origin, "max_bandwidth=1MB/s")
    with cascade(slow) as second, receiver_of(second) as receiver:
        send(sender, range(0, 200, 2))
        wait_for(receiver, 100)
        second._load = lambda: config(f"{{from: ['{url(origin, 'max_bandwidth=2MB/s')}']}}")
        second.reload()
        wait_for_report(receiver, lambda report: "2MB" in second.config.streams[0].upstreams[0])
        deadline = time.monotonic() + 10
        while not any(r.ready for r in second.streams[0].inlet._receivers.values()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        send(sender, range(200, 400, 2))
        wait_for(receiver, 200)
        assert (receiver.ledger.lost, receiver.ledger.restarts) == (0, 0)
        assert receiver.position.sequence == 200


def test_a_relay_without_zstd_is_told_of_in_a_line(group, port, monkeypatch):
    monkeypatch.setattr("astropix_relay.service.links.installed", lambda: False)
    with first_relay(group, port) as relay:
        monkeypatch.undo()
        with pytest.raises(ConfigError, match=r"the relay cannot compress; on its host: pip install"):
            with receiver_of(relay, compress="zstd"):
                pass


def test_several_ways_and_a_bandwidth_do_not_go_together(origin):
    with pytest.raises(ConfigError, match="open it alone"):
        open_receiver(
            AstroPix4Readout, [url(origin, "max_bandwidth=2Mbit/s"), origin.publisher.endpoint], timeout=1
        )
