"""A relay that goes mad: random and mutated messages among good ones.

It follows docs/protocol.md, not our code. Junk is what the protocol forbids. A header that is well formed
and lies is not among it: a relay is believed.
"""

import json
import random
import struct
import time

import zmq

from matrix.program import options, result
from matrix.readouts import pack

DEFAULTS = {"endpoint": "tcp://127.0.0.1:5556", "seed": 1, "count": 20_000}
HEADER = struct.Struct("<4sBBHQQQ16sH6x")
DATA, BEAT, HELLO = b"apx/astropix/data", b"apx/astropix/beat", b"apx/hello"
SOURCE = bytes(10) + b"\xff\xff" + bytes([10, 0, 1, 1])
GOOD_AMONG = 5


def header(count, sequence, *, magic=b"APXR", version=1):
    return HEADER.pack(magic, version, 0, count, 77, sequence, time.time_ns(), SOURCE, 40000)


def beat(sequence):
    totals = {"received": sequence}
    return [BEAT, header(0, sequence), json.dumps({"state": "live", "totals": totals}).encode()]


def make_junk(rng, sequence):
    """Return a message that no relay sends."""
    rubbish = rng.randbytes(int(65507 ** rng.random()) - 1)
    good = pack(sequence, 1, 0)
    bare = b"\0" + rubbish  # never the magic, never JSON
    kinds = (
        lambda: [DATA],
        lambda: [HELLO + b"\0" + bare],
        lambda: [DATA, bare],
        lambda: [DATA, bare, rubbish],
        lambda: [DATA, header(1, sequence), bare],
        lambda: [DATA, header(rng.choice((0, 2, 65535)), sequence), good],
        lambda: [DATA, header(1, sequence)[: rng.randrange(56)], good],
        lambda: [DATA, header(1, sequence, magic=b"APXQ"), good],
        lambda: [DATA, header(1, sequence, version=rng.randrange(2, 256)), good],
        lambda: [DATA, header(1, sequence), good[: rng.randrange(len(good))]],
        lambda: [DATA, header(1, sequence), good + bare],
        lambda: [DATA, header(1, sequence), good, rubbish],
        lambda: [DATA + b"/" + rubbish, header(1, sequence), good],
        lambda: [b"apx/astropix/" + bare, header(1, sequence), good],
        lambda: [BEAT, header(0, sequence), bare],
        lambda: [
            BEAT,
            header(0, sequence),
            rng.choice((b"{}", b"[1]", b"null", b'{"totals": {"received": -1}}')),
        ],
        lambda: [BEAT, header(0, sequence), b"[" * 60_000],
        lambda: [b"apx/astropix/" for _ in range(rng.randint(4, 20))],
    )
    return rng.choice(kinds)()


def main():
    given = options(DEFAULTS)
    rng = random.Random(given["seed"])
    with zmq.Context() as context, context.socket(zmq.XPUB) as sock:
        hello = {"protocol": 1, "version": "mad", "relay_id": 77, "history_port": None}
        sock.setsockopt(zmq.XPUB_WELCOME_MSG, HELLO + b"\0" + json.dumps(
            {**hello, "streams": {"astropix": {"readout_uid": 4000}}}
        ).encode())  # fmt: skip
        sock.setsockopt(zmq.SNDHWM, 0)
        sock.bind(given["endpoint"])
        print("publishing", flush=True)
        while sock.recv() != b"\x01apx/astropix/":
            pass
        sock.send_multipart(beat(0))
        sequence = 0
        for i in range(given["count"]):
            sock.send_multipart(make_junk(rng, sequence))
            if i % GOOD_AMONG == 0:
                sock.send_multipart([DATA, header(1, sequence), pack(sequence, time.time_ns(), sequence)])
                sequence += 1
            if i % 100 == 0:
                time.sleep(0.01)
        sock.send_multipart(beat(sequence))
        result(sent=sequence, junk=given["count"])
        while True:  # a silent relay would be connected to anew; the runner ends us
            time.sleep(0.5)
            sock.send_multipart(beat(sequence))


if __name__ == "__main__":
    main()
