"""Five hosts in a row: DAQ, relay, cascade, cascade with a multicast output, a receiver of multicast alone.

Each host shares a network with its neighbours only. What is lost on the line between two relays is told at
that hop.
"""

import contextlib
import itertools
import json
import sys
import time

import pytest

from network.test_documented_programs import LOG, RECEIVER

RELAY = (sys.executable, "-m", "astropix_relay", "run")
GROUP, PORT = "239.1.1.1", 5007

# Sends that many readouts of differing sizes at a rate; prints a digest of all bytes.
SEND = """
import hashlib, sys, time
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.sock import MulticastSender

count, rate, first = (int(word) for word in sys.argv[1:4])
digest = hashlib.sha256()
with MulticastSender(interface="eth0") as sender:
    began = time.monotonic()
    for i in range(first, first + count):
        data = AstroPix4Readout(bytes([i % 255]) * (i % 300), i, timestamp=i * 1000).to_bytes()
        digest.update(data)
        sender.send_data(data)
        time.sleep(max(0.0, began + (i - first + 1) / rate - time.monotonic()))
    assert not sender.not_sent
print(digest.hexdigest())
"""
# Receives that many readouts, or until nothing came for 20 s; prints their number, a digest and the account.
RECEIVE = """
import hashlib, json, sys
from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver

options = {"start": sys.argv[3]} if len(sys.argv) > 3 else {}
digest, got = hashlib.sha256(), 0
with open_receiver(AstroPix4Readout, sys.argv[1], **options) as receiver:
    receiver.wait_ready(20)
    print("ready", file=sys.stderr, flush=True)
    try:
        while got < int(sys.argv[2]):
            batch = receiver.receive_batch(timeout=20)
            got += len(batch)
            for data in batch.datagrams():
                digest.update(data)
    except ReceiveTimeout:
        pass
    for _ in range(30):  # beats with the last counts
        try:
            receiver.receive_batch(timeout=0.1)
        except ReceiveTimeout:
            pass
    print(json.dumps({"got": got, "digest": digest.hexdigest(), "account": str(receiver.ledger)}))
"""
# The same with nothing but a socket, as a program that never heard of this package.
PLAIN = """
import hashlib, json, socket, sys

digest, got = hashlib.sha256(), 0
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
udp.bind(("", 5007))
member = socket.inet_aton("239.1.1.1") + socket.inet_aton("0.0.0.0")
udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
udp.settimeout(20)
print("ready", file=sys.stderr, flush=True)
while got < int(sys.argv[1]):
    data, _ = udp.recvfrom(65535)
    digest.update(data)
    got += 1
print(json.dumps({"got": got, "digest": digest.hexdigest()}))
"""


# What each relay on the way says: printed where a test fails, since it is not the same a second time.
LOOK = """
import sys
from astropix_stream.doctor.examination import examine_relay
from astropix_stream.url import parse_url

for verdict in examine_relay(parse_url(sys.argv[1])):
    print(" ", verdict.check, verdict.fault, verdict.text)
"""


@pytest.fixture
def row(lab):
    """daq - first - second - third - far: the hosts, and the network of each pair."""
    hosts = lab.hosts("daq", "first", "second", "third", "far")
    lans = [lab.lan(one, other) for one, other in itertools.pairwise(hosts)]
    hosts[0].route_multicast()
    hosts[4].route_multicast()
    return hosts, lans


def endpoint(host):
    return f"tcp://{host.nics[1].address}:5556"


def start(host, path, stream, more=""):
    publish = f"publish: {{endpoint: '{endpoint(host)}'}}\nmetrics: {{listen: null}}\n"
    path.write_text(f"{publish}streams: [{{{stream}}}]\n{more}\n")
    return host.start(*RELAY, "--config", path)


@contextlib.contextmanager
def told_where_it_fails(programs, hosts):
    """Print what the relays wrote, and what the next host's doctor says of each, if the block fails."""
    try:
        yield
    except BaseException:
        for program, host, below in zip(programs, hosts, (*hosts[1:], hosts[-1]), strict=True):
            print(f"--- {host.name} wrote:\n{program.stderr}--- seen from {below.name}:")
            print(below.python(LOOK, endpoint(host)))
        raise


def start_all(stack, hosts, tmp_path):
    _, first, second, third, _ = hosts
    programs = [
        start(first, tmp_path / "first.yaml", "interface: eth0"),
        start(second, tmp_path / "second.yaml", f"from: ['{endpoint(first)}']"),
        start(
            third,
            tmp_path / "third.yaml",
            f"from: ['{endpoint(second)}']",
            "outputs: [{multicast: '239.1.1.1:5007', interface: eth1}]",
        ),
    ]
    for program in programs:
        stack.enter_context(program)
        program.wait_for("publishing on")
    stack.enter_context(told_where_it_fails(programs, (first, second, third)))
    return programs


def told(program):
    return json.loads(program.stdout.splitlines()[-1])


def test_every_byte_reaches_the_far_end_at_1000_a_second(row, tmp_path):
    hosts, _ = row
    daq, _, _, third, far = hosts
    with contextlib.ExitStack() as stack:
        programs = start_all(stack, hosts, tmp_path)
        direct = stack.enter_context(far.start_python(RECEIVE, f"udp://{GROUP}:{PORT}", 5000))
        relayed = stack.enter_context(far.start_python(RECEIVE, endpoint(third), 5000))
        documented = stack.enter_context(far.start_python(LOG + RECEIVER))
        plain = stack.enter_context(far.start_python(PLAIN, 5000))
        for receiver in (direct, relayed, plain):
            receiver.wait_for("ready")
        documented.wait_for("receiving 239.1.1.1:5007")
        digest = daq.python(SEND, 5000, 1000, 0).strip()
        assert relayed.wait() == direct.wait() == 0
        for receiver in (direct, relayed):
            assert told(receiver) == {"got": 5000, "digest": digest, "account": "nothing lost of 5000"}
        assert plain.wait() == 0
        assert told(plain) == {"got": 5000, "digest": digest}
        documented.wait_for("readout 4999 at")
        assert sum(line.startswith("readout ") for line in documented.stdout.splitlines()) == 5000
        late = far.python(RECEIVE, endpoint(third), 5000, "oldest")
        assert json.loads(late)["digest"] == digest
        assert [program.stop() for program in programs] == [0, 0, 0]


def test_what_the_line_between_two_relays_loses_is_told_at_that_hop(row, tmp_path):
    """No history above, a line that is cut and a connection that ends: those readouts are lost for good."""
    hosts, lans = row
    daq, first, second, third, far = hosts
    no_history = "history: {size: 0}"
    with contextlib.ExitStack() as stack:
        for host, stream in (
            (first, "interface: eth0"),
            (second, f"from: ['{endpoint(first)}']"),
            (third, f"from: ['{endpoint(second)}']"),
        ):
            program = stack.enter_context(start(host, tmp_path / f"{host.name}.yaml", stream, no_history))
            program.wait_for("publishing on")
        receiver = stack.enter_context(far.start_python(RECEIVE, endpoint(third), 200))
        receiver.wait_for("ready")
        daq.python(SEND, 100, 500, 0)
        lans[1][second].down()
        second.run("ss -K dst " + first.nics[1].address)  # what is on its way in the socket is gone, too
        daq.python(SEND, 200, 500, 100)
        first.run("ss -K dst " + lans[1][second].address)
        lans[1][second].up()
        time.sleep(8)  # until both have noticed that the connection is gone, and made another one
        daq.python(SEND, 100, 500, 300)
        assert receiver.wait() == 0
        account = told(receiver)["account"]
        assert told(receiver)["got"] == 200, account
        assert "200 lost of 400: 200 between" in account
        assert (
            f"between tcp://{first.nics[1].address}:5556 and tcp://{second.nics[1].address}:5556" in account
        )
