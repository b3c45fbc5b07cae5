"""Reading a UDP socket in batches: every reader against the same real sockets."""

import contextlib
import errno
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream import addresses
from astropix_stream.batch import NOTHING, Source
from astropix_stream.fmt import HEADER
from astropix_stream.multicast import datagrams, interfaces, sockets
from astropix_stream.multicast.datagrams import SLOTS, MmsgReader, RecvReader, open_reader


def without_recvmsg(monkeypatch):
    """Windows has no recvmsg."""

    def missing(self):
        raise AttributeError("recvmsg")

    monkeypatch.setattr(socket.socket, "recvmsg", property(missing), raising=False)


@pytest.fixture(params=["recvmmsg", "recvmsg", "recvfrom"])
def kind(request, monkeypatch):
    """The system call that the reader is made of."""
    if request.param == "recvmmsg" and datagrams._recvmmsg is None:
        pytest.skip("this platform has no recvmmsg")
    if request.param != "recvmmsg":
        monkeypatch.setattr(datagrams, "_recvmmsg", None)
    if request.param == "recvfrom":
        without_recvmsg(monkeypatch)
    return request.param


@contextlib.contextmanager
def receiver_and_sender(address="127.0.0.1", receive_buffer=4 << 20):
    family = interfaces.FAMILIES[addresses.check_address(address, 1)]
    with (
        socket.socket(family, socket.SOCK_DGRAM) as receiver,
        socket.socket(family, socket.SOCK_DGRAM) as sender,
    ):
        receiver.setblocking(False)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if sockets.SO_RXQ_OVFL is not None:
            receiver.setsockopt(socket.SOL_SOCKET, sockets.SO_RXQ_OVFL, 1)
        receiver.bind((address, 0))
        sender.bind((address, 0))
        sender.connect(receiver.getsockname())
        yield receiver, sender


@pytest.fixture
def pair():
    with receiver_and_sender() as pair:
        yield pair


def read_all(reader):
    """Everything that waits, as (bytes, source, drop count or None)."""
    found = []
    while (drained := reader.read()).sizes:
        assert len(drained.sources) == len(drained.sizes) <= reader.slots
        assert sum(drained.sizes) == len(drained.payload)
        assert not drained.even or len({*drained.sizes}) == len({*drained.sources}) == 1
        drops = drained.drops or [None] * len(drained.sizes)
        found += zip(drained.datagrams(), drained.sources, drops, strict=True)
    assert drained.exhausted
    return found


def test_the_fastest_reader_of_the_platform_is_taken(kind, pair):
    assert isinstance(open_reader(pair[0]), MmsgReader if kind == "recvmmsg" else RecvReader)


def test_nothing_waits(kind, pair):
    assert open_reader(pair[0]).read() == NOTHING


@pytest.mark.parametrize("count", [1, SLOTS - 1, SLOTS, SLOTS + 1, 3 * SLOTS])
def test_datagrams_come_out_as_they_went_in(kind, pair, count):
    receiver, sender = pair
    sent = [bytes([i % 251]) * (i % 100) for i in range(count)]  # empty ones too
    for data in sent:
        sender.send(data)
    reader = open_reader(receiver)
    source = Source(*sender.getsockname())
    assert [(data, found) for data, found, _ in read_all(reader)] == [(data, source) for data in sent]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_largest_datagram_is_whole(kind, address):
    largest = bytes(range(256)) * 256
    largest = largest[: 65507 if address == "127.0.0.1" else 65527]
    with receiver_and_sender(address) as (receiver, sender):
        reader = open_reader(receiver)
        for _ in range(3):
            sender.send(largest)
            sender.send(b"small")
        assert [data for data, _, _ in read_all(reader)] == [largest, b"small"] * 3


@pytest.mark.skipif(os.name != "posix", reason="Windows makes it an error")
def test_a_datagram_larger_than_its_slot_fills_it(kind, pair, monkeypatch):
    monkeypatch.setattr(datagrams, "SLOT_SIZE", 256)
    receiver, sender = pair
    reader = open_reader(receiver)
    for size in (255, 256, 300, 10):
        sender.send(b"x" * size)
    assert [len(data) for data, _, _ in read_all(reader)] == [255, 256, 256, 10]


def test_each_datagram_keeps_its_source(kind, pair):
    receiver, one = pair
    reader = open_reader(receiver)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.2", 0))
        other.connect(receiver.getsockname())
        senders = [one, other, other, one] * 40
        for i, sender in enumerate(senders):
            sender.send(bytes([i]))
        expected = [Source(*sender.getsockname()) for sender in senders]
        assert [source for _, source, _ in read_all(reader)] == expected


def test_ipv6_sources_are_addresses_too(kind):
    with receiver_and_sender("::1") as (receiver, sender):
        sender.send(b"x")
        assert read_all(open_reader(receiver))[0][1] == Source("::1", sender.getsockname()[1])


def test_texts_of_addresses_are_bounded(pair, monkeypatch):
    receiver, _ = pair
    reader = MmsgReader(receiver)
    monkeypatch.setattr(datagrams, "_MAX_SOURCES", 3)
    for i in range(1, 10):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((f"127.0.0.{i}", 0))
            sender.sendto(b"x", receiver.getsockname())
        assert read_all(reader)[0][1].address == f"127.0.0.{i}"
        assert len(reader._sources) <= 3


@pytest.mark.skipif(sockets.SO_RXQ_OVFL is None, reason="the kernel does not tell what it drops")
def test_what_the_kernel_dropped_comes_with_the_next_datagram(kind):
    with receiver_and_sender(receive_buffer=20_000) as (receiver, sender):
        reader = open_reader(receiver)
        sender.send(b"first")
        assert read_all(reader)[0][2] in (None, 0)
        for _ in range(100):
            sender.send(b"x" * 500)
        kept = read_all(reader)
        assert 0 < len(kept) < 100
        assert {drops for _, _, drops in kept} <= {None, 0}  # the drops came after these were queued
        for _ in range(2):
            sender.send(b"next")
            expected = None if kind == "recvfrom" else 100 - len(kept)
            assert [drops for _, _, drops in read_all(reader)] == [expected]


@pytest.mark.skipif(sockets.SO_RXQ_OVFL is None, reason="the kernel does not tell what it drops")
def test_a_batch_mixes_datagrams_from_before_and_after_drops(kind):
    with receiver_and_sender(receive_buffer=20_000) as (receiver, sender):
        for _ in range(100):
            sender.send(b"x" * 500)
        for _ in range(10):  # makes room, behind those from before the drops
            receiver.recv(1000)
        sender.send(b"behind")
        counts = [drops or 0 for _, _, drops in read_all(open_reader(receiver))]
        dropped = 100 - 10 - (len(counts) - 1)
        assert dropped > 0
        assert counts == [0] * (len(counts) - 1) + [0 if kind == "recvfrom" else dropped]


def test_what_was_read_is_there_to_stay(kind, pair):
    receiver, sender = pair
    reader = open_reader(receiver)
    sender.send(b"one")
    first = reader.read()
    sender.send(b"two")
    reader.read()
    assert first.payload == b"one"


# Sizes around the one that the reader laid out its buffers for, and back to it.
CHANGES = (
    [35] * 60,
    [35] * 60,
    [35] * 60,
    [45] * 9,
    [35, 45, 34, 36, 35],
    [45] * 9,
    [45] * 9,
    [0, 45, 1],
    [4000] * 3,
)


def test_sizes_may_change_at_any_time(kind, pair):
    receiver, sender = pair
    reader, source = open_reader(receiver), Source(*sender.getsockname())
    for sizes in CHANGES * 2:
        sent = [bytes([i]) * size for i, size in enumerate(sizes)]
        for data in sent:
            sender.send(data)
        assert [(data, found) for data, found, _ in read_all(reader)] == [(data, source) for data in sent]


@pytest.mark.skipif(datagrams._recvmmsg is None, reason="this platform has no recvmmsg")
def test_a_size_that_stays_is_read_in_one_piece(pair):
    receiver, sender = pair
    reader = MmsgReader(receiver)
    laid_out = []
    # One that comes once, or is no readout, changes nothing.
    for size in (35, 35, 35, 45, 35, 45, 45, 10, 10):
        for _ in range(3):
            sender.send(bytes(size))
        assert reader.read().even
        laid_out.append(reader._piece)
    assert laid_out[1:] == [35, 35, 35, 35, 45, 45, 45, 45]


SIZES = [0, 1, 19, 35, 35, 36, 45, 1472, 1473, 5000]


@given(st.lists(st.lists(st.sampled_from(SIZES), max_size=12), max_size=8))
def test_any_sizes_come_out_as_they_went_in(script):
    with receiver_and_sender() as (receiver, sender):
        reader = open_reader(receiver)
        for sizes in script:
            sent = [os.urandom(size) for size in sizes]
            for data in sent:
                sender.send(data)
            assert [data for data, _, _ in read_all(reader)] == sent


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=20))
def test_heads_are_what_each_datagram_begins_with(sent):
    with receiver_and_sender() as (receiver, sender):
        for data in sent:
            sender.send(data)
        drained = open_reader(receiver).read()
    for i, data in enumerate(sent[: len(drained.sizes)]):
        if drained.heads and len(data) >= HEADER.size:
            assert tuple(column[i] for column in drained.heads) == HEADER.unpack_from(data)


def test_a_closed_socket_is_an_error_not_a_crash(kind, pair):
    receiver, _ = pair
    reader = open_reader(receiver)
    receiver.close()
    with pytest.raises(OSError) as raised:
        reader.read()
    assert raised.value.errno == errno.EBADF
