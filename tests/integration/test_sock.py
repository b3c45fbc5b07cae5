"""MulticastSender and MulticastReceiver on real sockets, on the loopback interface.

What needs a network of its own is in tests/network/test_sock.py.
"""

import asyncio
import errno
import logging
import select
import selectors
import socket
import threading
import time
from itertools import chain

import pytest

from astropix_stream.counting.places import Place
from astropix_stream.errors import ClosedError, ConfigError, ReceiveTimeout
from astropix_stream.fmt import MAX_DATA, MAX_DATAGRAM, AstroPix4Readout
from astropix_stream.multicast import datagrams, sockets
from astropix_stream.sock import MulticastReceiver, MulticastSender
from astropix_stream.sock import sender as sender_module
from faults import failing_sends

LO = "127.0.0.1"
WAIT = 5  # seconds for what must arrive; passes only in a test that fails

# Each platform is Linux less what it lacks.
LACKS = {
    "linux": (),
    "no recvmmsg": ((datagrams, "_recvmmsg"),),
    "no poll": ((select, "poll"),),
    "no epoll": ((datagrams, "_recvmmsg"), (select, "epoll")),
    "no options": tuple(
        (sockets, name)
        for name in ("IP_MULTICAST_ALL", "SO_RXQ_OVFL", "IP_RECVERR", "MCAST_JOIN_SOURCE_GROUP")
    ),
    "no binding to a group": ((sockets, "BIND_TO_GROUP"),),
}
LACKS["nothing of all"] = tuple({pair for pairs in LACKS.values() for pair in pairs})


def take_away(monkeypatch, lacks):
    for owner, name in lacks:
        if owner is select:
            monkeypatch.delattr(select, name)
        else:
            monkeypatch.setattr(owner, name, False if name == "BIND_TO_GROUP" else None)


@pytest.fixture(params=LACKS)
def platform(request, monkeypatch):
    take_away(monkeypatch, LACKS[request.param])
    return request.param


def readout(readout_id, size=16):
    return AstroPix4Readout(b"\xbc" * size, readout_id, 1000 + readout_id)


@pytest.fixture
def open_receiver(group, port):
    opened = []

    def open_receiver(readout_class=AstroPix4Readout, group=group, **options):
        receiver = MulticastReceiver(
            readout_class, group, port, **{"interface": LO, "timeout": WAIT, **options}
        )
        opened.append(receiver)
        return receiver

    yield open_receiver
    for receiver in opened:
        receiver.close()


@pytest.fixture
def receiver(open_receiver):
    return open_receiver()


def received_ids(receiver, count):
    return [receiver.receive().readout_id for _ in range(count)]


def waits_for_nothing(receiver):
    with pytest.raises(ReceiveTimeout):
        receiver.receive(timeout=0)
    return True


def warnings_in(caplog):
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


# --- the way of a readout -------------------------------------------------------------------------------


def test_readouts_arrive_as_they_were_sent(platform, sender, receiver):
    for i in range(200):
        sent = readout(i, size=i)
        assert sender.send_readout(sent) == len(sent.to_bytes())
    for i in range(200):
        assert receiver.receive().to_bytes() == readout(i, size=i).to_bytes()
    assert (sender.sent, sender.not_sent) == (200, {})
    assert (receiver.ledger.delivered, receiver.ledger.lost) == (200, 0)
    assert waits_for_nothing(receiver)


def test_the_largest_readout_fits(platform, sender, receiver):
    largest = readout(0, MAX_DATA)
    assert sender.send_readout(largest) == MAX_DATAGRAM
    assert receiver.receive().to_bytes() == largest.to_bytes()


def test_bytes_are_sent_byte_for_byte(sender, receiver):
    """A payload that ends in ff would not survive a round trip through a readout object."""
    data = bytearray(readout(0, 20).to_bytes())
    data[-2:] = b"\xff\xff"
    for kind in (bytes, bytearray, memoryview):
        assert sender.send_data(kind(data)) == len(data)
        assert receiver.receive_batch().payload == data


def test_every_receiver_on_the_host_gets_everything(platform, sender, open_receiver):
    receivers = [open_receiver() for _ in range(3)]
    for i in range(10):
        sender.send_readout(readout(i))
    for receiver in receivers:
        assert received_ids(receiver, 10) == list(range(10))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_unicast_address_will_do(platform, port, address):
    """AstroPix tools use it on a machine without a network."""
    with (
        MulticastSender(address, port) as sender,
        MulticastReceiver(AstroPix4Readout, address, port, timeout=WAIT) as receiver,
    ):
        for i in range(100):
            sender.send_readout(readout(i))
        assert received_ids(receiver, 100) == list(range(100))


def test_a_unicast_address_at_which_nothing_listens_loses_no_later_readout(port):
    with MulticastSender("127.0.0.1", port) as sender:
        assert [sender.send_readout(readout(i)) for i in range(3)] == [35] * 3
        with MulticastReceiver(AstroPix4Readout, "127.0.0.1", port, timeout=WAIT) as receiver:
            sender.send_readout(readout(3))
            assert receiver.receive().readout_id == 3


def test_addresses(sender, receiver, group, port):
    assert sender.address() == receiver.address() == (group, port)
    assert str(sender) == str(receiver) == f"{group}:{port}"
    assert MulticastSender.__init__.__defaults__ == ("239.1.1.1", 5007, 2)
    assert MulticastReceiver.__init__.__defaults__ == ("239.1.1.1", 5007)


# --- what must not arrive ------------------------------------------------------------------------------


def isolation(platform):
    """Whether other groups, and unicast datagrams, are kept away by the kernel."""
    bound = platform not in ("no binding to a group", "nothing of all")
    return bound or platform == "no binding to a group", bound


def test_another_group_on_the_same_port_does_not_arrive(platform, sender, receiver, group, port):
    """Not even when another program on this host, and interface, has joined it (IP_MULTICAST_ALL)."""
    other = "239.255" + group[group.index(".", 4) :]
    with (
        MulticastReceiver(AstroPix4Readout, other, port, interface=LO, timeout=WAIT) as foreign,
        MulticastSender(other, port, 0, interface=LO) as stranger,
    ):
        stranger.send_readout(readout(77))
        assert foreign.receive().readout_id == 77
        sender.send_readout(readout(1))
        kept_away = isolation(platform)[0]
        assert receiver.receive().readout_id == (1 if kept_away else 77)


def test_a_unicast_datagram_on_the_same_port_does_not_arrive(platform, sender, receiver, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(readout(77).to_bytes(), (LO, port))
    sender.send_readout(readout(1))
    assert receiver.receive().readout_id == (1 if isolation(platform)[1] else 77)


# --- what is wrong on the way, counted -----------------------------------------------------------------


def test_broken_datagrams_are_counted_by_reason_and_skipped(platform, sender, receiver):
    whole = readout(1).to_bytes()
    broken = {
        "short": [b"", b"\xfe", whole[:18]],
        "magic": [b"\x00" * 40, b"fedcba" + whole, whole[1:]],
        "length": [whole[:-1], whole + b"\x00", whole + whole],
    }
    sender.send_readout(readout(0))
    for datagram in chain(*broken.values()):
        sender.send_data(datagram)
    sender.send_readout(readout(1))
    assert received_ids(receiver, 2) == [0, 1]
    assert receiver.rejected == {reason: len(some) for reason, some in broken.items()}
    assert receiver.ledger.lost == 0


def test_gaps_duplicates_and_reordered_are_counted(platform, sender, receiver):
    order = [0, 1, 2, 4, 3, 5, 5, 6, 10, *range(11, 80)]
    for readout_id in order:
        sender.send_readout(readout(readout_id))
    assert received_ids(receiver, len(order)) == order
    ledger = receiver.ledger
    assert (ledger.duplicates, ledger.reordered) == (1, 1)
    assert ledger.lost_at == {Place.BEFORE_SOCKET: 3}
    assert ledger.delivered == len(order) - 1
    assert str(ledger).startswith("3 lost of 80: 3 before the socket")


def test_a_stride_is_no_loss(sender, open_receiver):
    receiver = open_receiver(stride=10)
    for readout_id in range(0, 1000, 10):
        sender.send_readout(readout(readout_id))
    received_ids(receiver, 100)
    assert receiver.ledger.lost == 0


def test_a_readout_lost_to_a_broken_datagram_is_lost_here(platform, sender, receiver):
    for i in range(100):
        data = readout(i).to_bytes()
        sender.send_data(data[:-1] if i == 5 else data)
    received_ids(receiver, 99)
    assert receiver.ledger.lost_at == {Place.CLIENT_REJECTED: 1}


def test_what_the_kernel_dropped_is_counted_exactly(platform, sender, open_receiver):
    receiver = open_receiver(receive_buffer=50_000, timeout=0)
    for i in range(500):
        sender.send_readout(readout(i, size=1000))
    kept = len(list(receiver))
    for i in range(500, 600):  # the drops are told with later datagrams, and the gap closes 64 readouts later
        sender.send_readout(readout(i))
        assert receiver.receive(timeout=WAIT).readout_id == i
    place = Place.BEFORE_SOCKET if "no options" in platform or "all" in platform else Place.CLIENT_KERNEL
    ledger = receiver.ledger
    assert 0 < kept < 500
    assert ledger.lost_at == {place: 500 - kept}
    assert ledger.delivered == kept + 100
    assert not ledger.at_most


def test_two_sources_are_two_sequences(platform, group, port, sender, receiver):
    with MulticastSender(group, port, 0, interface=LO) as other:
        for i in range(100):
            sender.send_readout(readout(i))
            other.send_readout(readout(2 * i))
        received_ids(receiver, 200)
    ledger = receiver.ledger
    assert (ledger.delivered, ledger.duplicates, ledger.reordered) == (200, 0, 0)


class Text(str):
    """A readout class of somebody else; it raises what bytes of a stranger may raise."""

    @classmethod
    def from_bytes(cls, data):
        return cls(data[19:].decode())


def test_any_class_with_from_bytes_will_do(platform, sender, open_receiver):
    receiver = open_receiver(Text)
    for data in (b"one", b"\xbc\xbc", b"three"):
        sender.send_readout(AstroPix4Readout(data, 0, 1))
    assert [receiver.receive(), receiver.receive()] == ["one", "three"]
    assert receiver.undecodable == 1


# --- waiting -------------------------------------------------------------------------------------------


def test_timeouts(platform, open_receiver, sender):
    receiver = open_receiver(timeout=0.05)
    for timeout, least in ((0, 0), (0.2, 0.2), ("default", 0.05)):
        begin = time.monotonic()
        with pytest.raises(ReceiveTimeout, match="no readout from 239"):
            receiver.receive() if timeout == "default" else receiver.receive(timeout=timeout)
        assert least <= time.monotonic() - begin < least + 1
    timer = threading.Timer(0.02, sender.send_readout, [readout(1)])
    timer.start()
    assert receiver.receive(timeout=None).readout_id == 1
    timer.join()


def test_broken_datagrams_do_not_prolong_a_timeout(platform, receiver, sender):
    stop = threading.Event()

    def pour():
        while not stop.wait(0.001):
            sender.send_data(b"broken")

    pouring = threading.Thread(target=pour)
    pouring.start()
    begin = time.monotonic()
    with pytest.raises(ReceiveTimeout):
        receiver.receive(timeout=0.1)
    assert time.monotonic() - begin < 1
    stop.set()
    pouring.join()
    assert receiver.rejected["short"] > 0


def test_iteration_ends_after_the_timeout(platform, sender, open_receiver):
    receiver = open_receiver(timeout=0.05)
    for i in range(150):
        sender.send_readout(readout(i))
    assert [one.readout_id for one in receiver] == list(range(150))


def test_it_stays_readable_while_readouts_are_buffered(platform, sender, receiver):
    def readable():
        return bool(select.select([receiver], [], [], 0)[0])

    assert not readable()
    for i in range(100):
        sender.send_readout(readout(i))
    for i in range(100):
        assert readable()
        assert receiver.receive(timeout=0).readout_id == i
    assert not readable()


def test_asyncio_reads_one_readout_a_wake(platform, sender, receiver):
    received = []

    async def collect():
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def on_readable():
            received.append(receiver.receive(timeout=0).readout_id)
            if len(received) == 300:
                done.set_result(None)

        loop.add_reader(receiver, on_readable)
        for i in range(300):
            sender.send_readout(readout(i))
        try:
            await asyncio.wait_for(done, WAIT)
        finally:
            loop.remove_reader(receiver)

    kind = selectors.DefaultSelector if hasattr(select, "epoll") else selectors.SelectSelector
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(kind())) as runner:
        runner.run(collect())
    assert received == list(range(300))


# --- opening and closing -------------------------------------------------------------------------------


def test_a_look_that_finds_nothing_does_not_end_the_gathering(sender, receiver):
    """A program that takes all there is, and then waits, looks once more after each batch."""
    receiver.gather = 0.1
    for i in range(4):
        began_s = time.monotonic()
        sender.send_readout(AstroPix4Readout(b"", i))
        receiver.receive_batch(WAIT)
    with pytest.raises(ReceiveTimeout):
        receiver.receive_batch(0)
    sender.send_readout(AstroPix4Readout(b"", 4))
    assert receiver.receive_batch(WAIT).readout_ids[0] == 4
    rest_s = min(receiver.gather, datagrams.safe_rest_s(receiver.granted_buffer))
    assert time.monotonic() - began_s >= rest_s


def test_closing_twice_and_use_after_closing(platform, sender, receiver):
    with receiver, sender:
        receiver.fileno()
        sender.send_readout(readout(0))
    for one in (receiver, sender):
        one.close()
        assert one.address()
    for use in (receiver.receive, receiver.fileno, receiver.receive_batch):
        with pytest.raises(ClosedError, match=str(receiver)):
            use()
    assert list(receiver) == []
    assert receiver.ledger.delivered == 0
    for use in (lambda: sender.send_data(b"x"), lambda: sender.send_readout(readout(1))):
        with pytest.raises(ClosedError, match=str(sender)):
            use()
    assert sender.sent == 1


@pytest.mark.parametrize("wrong", [None, "text", 5, 5.0, [b"x"], object()])
def test_what_is_not_bytes_is_a_mistake_of_the_caller(sender, wrong):
    with pytest.raises(TypeError):
        sender.send_data(wrong)
    assert (sender.sent, sender.not_sent) == (0, {})


def test_what_is_not_a_readout_is_a_mistake_of_the_caller(sender):
    class Lazy:
        def to_bytes(self):
            return self.missing  # type: ignore[attr-defined]

    class Texty:
        def to_bytes(self):
            return "text"

    for wrong in (b"bytes", "text", None, object()):
        with pytest.raises(TypeError, match=f"{type(wrong).__name__} is not a readout: it has no to_bytes"):
            sender.send_readout(wrong)
    with pytest.raises(AttributeError, match="missing"):
        sender.send_readout(Lazy())
    with pytest.raises(TypeError):
        sender.send_readout(Texty())
    with pytest.raises(TypeError, match="from_bytes"):
        MulticastReceiver(object)


@pytest.mark.parametrize(
    "options",
    [
        {"group": "relay.example"},
        {"group": "239.1.1"},
        {"port": 0},
        {"port": 65536},
        {"interface": "::1"},
        {"group": "ff15::1", "interface": "127.0.0.1"},
        {"group": "ff12::1"},
    ],
)
def test_what_cannot_be_right_is_refused(options, group):
    options = {"group": group, **options}
    for opened in (
        lambda: MulticastSender(**options),
        lambda: MulticastReceiver(AstroPix4Readout, **options),
    ):
        with pytest.raises(ConfigError):
            opened()


def test_a_ttl_is_from_0_to_255(group, port):
    with pytest.raises(ConfigError, match="ttl must be a whole number from 0 to 255, not 256"):
        MulticastSender(group, port, 256)


def test_a_source_is_of_a_group(port):
    with pytest.raises(ConfigError, match="source"):
        MulticastReceiver(AstroPix4Readout, LO, port, source=LO)


def test_a_platform_that_cannot_join_a_source_says_so(group, port, monkeypatch):
    monkeypatch.setattr(sockets, "MCAST_JOIN_SOURCE_GROUP", None)
    with pytest.raises(OSError, match=f"cannot receive {group}:{port} .*Linux only"):
        MulticastReceiver(AstroPix4Readout, group, port, interface=LO, source=LO)


def test_a_missing_interface_is_said_with_group_and_port(group, port):
    for opened in (
        lambda name: MulticastSender(group, port, interface=name),
        lambda name: MulticastReceiver(AstroPix4Readout, group, port, interface=name),
    ):
        for name in ("eth99", "192.0.2.177"):
            with pytest.raises(OSError, match=f"cannot .* {group}:{port} .*{name}: .*interface"):
                opened(name)


def test_a_port_that_another_program_holds_is_said(group, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("", port))
        with pytest.raises(OSError, match=f"cannot receive {group}:{port}.*another program holds") as raised:
            MulticastReceiver(AstroPix4Readout, group, port, interface=LO)
    assert raised.value.errno == errno.EADDRINUSE


def test_a_second_receiver_at_a_unicast_address_is_refused(port):
    """The kernel would give each readout to one of the two."""
    with (
        MulticastReceiver(AstroPix4Readout, LO, port),
        pytest.raises(OSError, match="another program holds"),
    ):
        MulticastReceiver(AstroPix4Readout, LO, port)


def test_the_interface_in_use_is_logged(group, port, caplog):
    caplog.set_level(logging.INFO, "astropix_stream")  # a command tested before may have made it quiet
    with (
        MulticastSender(group, port, 0, interface=LO),
        MulticastReceiver(AstroPix4Readout, group, port, interface="lo"),
        MulticastSender(LO, port),
    ):
        assert [record.message for record in caplog.records] == [
            f"sending to {group}:{port} from 127.0.0.1 (lo)",
            f"receiving {group}:{port} on lo",
            f"sending to 127.0.0.1:{port} from 127.0.0.1 (lo)",
        ]


def test_the_buffer_that_the_kernel_gave_is_known(open_receiver):
    assert open_receiver(receive_buffer=100_000).granted_buffer == 100_000


# --- the DAQ's loop never stalls nor dies for the network's sake --------------------------------------


ERRNOS = sorted(errno.errorcode)


def test_whatever_the_network_answers_is_counted_and_not_raised(sender):
    for number in ERRNOS:
        with failing_sends(sender, number):
            assert sender.send_readout(readout(0)) == 0
            assert sender.send_data(b"x" * 30) == 0
    assert sender.not_sent == dict.fromkeys(ERRNOS, 2)
    assert sender.sent == 0


def test_errors_without_a_number_are_counted_too(sender):
    def fail(*_):
        raise TimeoutError("timed out")

    sender._sendto = fail
    assert sender.send_data(b"x") == 0
    assert sender.not_sent == {0: 1}


def test_a_failure_is_logged_once_when_it_starts_and_once_when_it_ends(sender, receiver, caplog, monkeypatch):
    monkeypatch.setattr(sender_module, "_CALM_S", 0.0)
    sender.send_readout(readout(0))
    with failing_sends(sender, errno.ENETUNREACH):
        for i in range(1, 100):
            assert sender.send_readout(readout(i)) == 0
    for i in range(100, 200):
        assert sender.send_readout(readout(i)) > 0
    start, end = warnings_in(caplog)
    assert start == (
        f"readouts are not sent to {sender}: Network is unreachable: the interface is down, or no route "
        "leads there: name the interface, or add a route (`ip route add … dev …`)"
    )
    assert end == f"sending to {sender} works again; not sent meanwhile: 99 (Network is unreachable)"
    assert received_ids(receiver, 101) == [0, *range(100, 200)]


def test_a_failure_that_comes_and_goes_fills_no_log(sender, caplog):
    with failing_sends(sender, errno.ENOBUFS, 0, 0, errno.EAGAIN):
        for i in range(10_000):
            sender.send_readout(readout(i))
    assert len(warnings_in(caplog)) == 2  # the start of each
    assert sender.not_sent == {errno.ENOBUFS: 2500, errno.EAGAIN: 2500}
    sender.close()
    assert warnings_in(caplog)[2:] == [
        f"sending to {sender} ends; not sent meanwhile: "
        "2500 (No buffer space available), 2500 (Resource temporarily unavailable)"
    ]


def test_the_end_is_said_after_a_second_without_a_failure(sender, caplog, monkeypatch):
    def send_at(now):
        monkeypatch.setattr(time, "monotonic", lambda: now)
        sender.send_data(b"x")
        return len(warnings_in(caplog))

    with failing_sends(sender, errno.ENETDOWN):
        assert send_at(100.0) == 1
    assert [send_at(now) for now in (100.5, 100.99, 101.0, 105.0)] == [1, 1, 2, 2]


@pytest.mark.parametrize("size", [MAX_DATAGRAM + 1, 1 << 20])
def test_a_readout_too_large_for_a_datagram_is_not_sent(sender, receiver, caplog, size):
    for _ in range(3):
        assert sender.send_data(bytes(size)) == 0
    assert sender.not_sent == {errno.EMSGSIZE: 3}
    (said,) = warnings_in(caplog)
    assert f"a readout of {size} bytes (the limit is 65507) is not sent to" in said
    sender.send_readout(readout(1))
    assert receiver.receive().readout_id == 1


def test_a_sender_that_nobody_hears_never_waits(sender):
    longest = 0.0
    for i in range(2000):
        begin = time.perf_counter()
        sender.send_readout(readout(i, 1000))
        longest = max(longest, time.perf_counter() - begin)
    assert sender.sent == 2000
    assert longest < 0.3
