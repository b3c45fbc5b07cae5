"""A subscriber in plain pyzmq, written from docs/protocol.md: gaps, restarts, heartbeats, history, CURVE.

    python subscriber.py [--zstd] ENDPOINT [STREAM [RELAY.key CLIENT.key_secret]]

Prints the account, a line of JSON, whenever something has changed. `apx conformance` tests it. With --zstd
the relay compresses, for slow lines (pip install zstandard). For a monitor in Python take
`astropix_stream.relay.RelayReceiver`; this is for those who write one elsewhere.
"""

import contextlib
import json
import struct
import sys
import time
from collections import deque

import zmq
import zmq.auth

HEADER = struct.Struct("<4sBBHQQQ16sH6x")
READOUT = struct.Struct("<3sIQI")
COMPRESSED, MAX_PLAIN = 0x02, 128 << 10
SILENT_S, AGAIN_S, GIVE_UP_S, TURN_S, HELD = 5.0, 2.0, 5.0, 0.1, 1000
PLACES = {"before_socket": "before_socket", "relay_kernel": "in_kernel", "relay_rejected": "rejected"}


def readouts_of(payload, count, source):
    """Return (source, readout_id, bytes) for each readout; None if the payload is not `count` readouts."""
    readouts, at = [], 0
    while at + READOUT.size <= len(payload):
        magic, readout_id, _, length = READOUT.unpack_from(payload, at)
        end = at + READOUT.size + length
        if magic != b"\xfe\xdc\xba" or end > len(payload):
            return None
        readouts.append((source, readout_id, payload[at:end]))
        at = end
    return readouts if at == len(payload) and len(readouts) == count > 0 else None


def decompress(frame):
    """Return the content of a zstd frame; nothing that is too large, or tells no size, is unpacked."""
    import zstandard  # noqa: PLC0415

    if zstandard.get_frame_parameters(frame).content_size > MAX_PLAIN:
        raise ValueError("too large")
    try:
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(*error.args) from None


class Stream:
    """Follows the numbers of one stream. Frames and answers go in, `delivered` and `lost` come out."""

    def __init__(self, name, zstd=False):
        self.topic, self.begun = f"apx{'z' * zstd}/{name}/data", not zstd
        self.name, self.relay_id, self.expected, self.seen = name, None, 0, 0
        self.count, self.delivered = 0, deque(maxlen=1000)  # readout_ids, the latest
        self.restarts, self.missed, self.stride = 0, 0, 1
        self.lost = dict.fromkeys((*PLACES, "relay_to_client"), 0)
        self.base = self.latest = None  # the relay's account when we joined, and now
        self.last, self.resumed = {}, {}  # readout_ids by source: the last one, and that before a restart
        self.held = deque(maxlen=HELD)  # messages behind a gap; history has those that it pushes out, too
        self.history_port, self.gave_up = None, False

    def account(self):
        """Return what was delivered and lost so far."""
        lost = dict(self.lost)
        for place, key in PLACES.items() if self.latest else ():
            lost[place] += self.latest[key] - self.base[key]
        return {
            "count": self.count,
            "delivered": list(self.delivered),
            "lost": lost,
            "restarts": self.restarts,
        }

    def take(self, frames):
        """Take in one message."""
        if len(frames) == 1 and frames[0].startswith(b"apx/hello\0"):
            hello = json.loads(frames[0][10:])
            self.history_port, self.gave_up = hello["history_port"], False
            self.stride = hello["streams"].get(self.name, {}).get("stride", 1)
        if len(frames) != 3 or len(frames[1]) < HEADER.size:
            return
        magic, version, flags, count, relay_id, sequence, _, *source = HEADER.unpack_from(frames[1])
        if magic != b"APXR" or version != 1:
            return
        if frames[0] == f"apx/{self.name}/beat".encode():
            if not self.begun:  # what is compressed begins a moment after the heartbeats
                return
            self.follow(relay_id, sequence)
            beat = json.loads(frames[2])
            totals, self.stride = beat["totals"], beat.get("stride", self.stride)
            self.latest = {**totals, "rejected": sum(totals["rejected"].values())}
            self.base = self.base or self.latest
            self.seen = max(self.seen, sequence)
        elif frames[0] == self.topic.encode():
            zstd = self.topic.startswith("apxz")
            payload = decompress(frames[2]) if zstd and flags & COMPRESSED else frames[2]
            readouts = readouts_of(payload, count, tuple(source))
            if readouts is None and not (zstd and count == 0):  # which tells where it begins
                return
            self.begun = True
            self.follow(relay_id, sequence)
            if readouts:
                self.held.append((sequence, readouts))
            self.seen = max(self.seen, sequence + count)
        self.settle()

    def follow(self, relay_id, sequence):
        """Recognise the first message, and a restarted relay."""
        if self.relay_id is None:
            self.expected = self.seen = sequence  # what came before was never ours
        elif relay_id != self.relay_id:
            self.give_up()
            self.lost = self.account()["lost"]  # all that the new relay counts is ours
            self.base = self.latest = dict.fromkeys(PLACES.values(), 0)
            self.restarts, self.expected, self.seen = self.restarts + 1, 0, 0
            self.resumed, self.gave_up = dict(self.last), False
        self.relay_id = relay_id

    def gap(self):
        """Return the sequences that delivery waits for; None where it waits for nothing."""
        until = self.held[0][0] if self.held else self.seen
        return (self.expected, until) if until > self.expected else None

    def settle(self):
        """Deliver what is held, up to the next gap that history may fill."""
        while (gap := self.gap()) is None or not self.history_port or self.gave_up:
            if gap:
                self.lose(gap[1])
            if not self.held:
                self.gave_up = False
                return
            self.deliver(*self.held.popleft())

    def give_up(self):
        """Wait for history no longer."""
        self.gave_up = True
        self.settle()

    def lose(self, until):
        """Count what is missing up to a sequence."""
        count = max(0, until - self.expected)
        self.lost["relay_to_client"] += count
        self.missed += count
        self.expected += count

    def deliver(self, sequence, readouts):
        """Hand out readouts, less those that are known already."""
        self.lose(sequence)
        for source, readout_id, _ in readouts[self.expected - sequence :]:
            if source in self.resumed:
                ahead = (readout_id - self.resumed.pop(source)) % (1 << 32)
                if 0 < ahead <= self.stride << 20:  # else a new run
                    self.lost["before_socket"] += max(0, (ahead - 1) // self.stride - self.missed)
            self.last[source], self.missed = readout_id, 0
            self.delivered.append(readout_id)  # the third item is the readout itself: decode it here
            self.count += 1
            self.expected += 1

    def take_page(self, status, begin, end, page):
        """Take in an answer of the relay's history."""
        _, until = self.gap()
        if status != 0:
            return self.give_up()
        at = 0
        while at < len(page):
            (size,) = struct.unpack_from("<I", page, at)
            _, _, _, count, _, sequence, _, *source = HEADER.unpack_from(page, at + 4)
            at += 4 + HEADER.size + size
            if sequence < until:
                self.deliver(sequence, readouts_of(page[at - size : at], count, tuple(source)))
        self.lose(min(max(begin, end), until))
        self.settle()


class Client:
    """The sockets, and the clock, which stands still while this program does."""

    def __init__(self, endpoint, stream, keys=None):
        self.endpoint, self.stream, self.keys = endpoint, stream, keys
        self.context, self.history, self.asked, self.ids = zmq.Context(), None, None, 0
        self.now = self.heard = 0.0
        self.connect()

    def socket(self, kind, endpoint):
        """Return a connected socket, with the options that docs/protocol.md recommends."""
        sock = self.context.socket(kind)
        for option, value in ((zmq.LINGER, 0), (zmq.RCVHWM, 1000), (zmq.MAXMSGSIZE, 16 << 20),
                              (zmq.TCP_KEEPALIVE, 1), (zmq.RECONNECT_IVL_MAX, 500)):  # fmt: skip
            sock.setsockopt(option, value)
        sock.ipv6 = "[" in endpoint
        if self.keys:
            sock.curve_serverkey, sock.curve_publickey, sock.curve_secretkey = self.keys
        name, topic = self.stream.name, self.stream.topic
        for prefix in ("apx/hello", f"apx/{name}/beat", topic) if kind == zmq.SUB else ():
            sock.subscribe(prefix)
        sock.connect(endpoint)
        return sock

    def connect(self):
        """Subscribe."""
        self.live, self.heard = self.socket(zmq.SUB, self.endpoint), self.now

    def turn(self):
        """Wait a moment, and do what there is to do."""
        before = time.monotonic()
        self.live.poll(TURN_S * 1000)
        self.now += min(time.monotonic() - before, 2 * TURN_S)  # a longer one is one in which we were stopped
        while self.live.poll(0):
            self.heard, frames = self.now, self.live.recv_multipart()
            with contextlib.suppress(
                ValueError, LookupError, TypeError, AttributeError
            ):  # not of this protocol
                self.stream.take(frames)
        while self.history and self.history.poll(0):
            self.take_answer(self.history.recv_multipart())
        self.ask()
        if self.now - self.heard > SILENT_S:
            self.live.close()
            self.connect()

    def ask(self):
        """Ask history for the gap, if there is one and it is time."""
        gap = self.stream.gap()
        if gap is None:
            self.asked = None
            return
        if self.asked and self.now - self.asked["first"] > GIVE_UP_S:
            self.asked = None
            self.stream.give_up()
        elif not self.asked or self.now - self.asked["at"] > AGAIN_S:
            first = self.asked["first"] if self.asked else self.now
            if self.history and self.asked:  # the answer may have been lost with its connection
                self.history.close()
                self.history = None
            host = self.endpoint.rpartition(":")[0]
            self.history = self.history or self.socket(zmq.DEALER, f"{host}:{self.stream.history_port}")
            self.ids += 1
            self.asked = {"id": self.ids, "at": self.now, "first": first}
            request = struct.pack("<4sBB2xQQQQ", b"APXQ", 1, 1, self.ids, self.stream.relay_id, *gap)
            self.history.send(request + self.stream.name.encode())

    def take_answer(self, frames):
        """Take in an answer, if it is the one that is awaited."""
        magic, version, status, request_id, _, _, _, begin, end = struct.unpack_from("<4sBB2x6Q", frames[0])
        if magic == b"APXA" and version == 1 and self.asked and request_id == self.asked["id"]:
            self.asked = None
            if self.stream.gap():
                self.stream.take_page(status, begin, end, frames[1])


def main():
    """Follow a stream until Ctrl-C."""
    given = [argument for argument in sys.argv[1:] if argument != "--zstd"]
    endpoint, name, *files = [*given, "astropix"][: max(2, len(given))]
    keys = None
    if files:
        keys = (zmq.auth.load_certificate(files[0])[0], *zmq.auth.load_certificate(files[1]))
    client, printed = Client(endpoint, Stream(name, "--zstd" in sys.argv), keys), None
    while True:
        client.turn()
        line = json.dumps(client.stream.account())
        if line != printed:
            print(line, flush=True)
            printed = line


if __name__ == "__main__":
    main()
