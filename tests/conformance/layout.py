"""The bytes of docs/protocol.md, packed from the page and not with `astropix_stream.wire`.

The files in conformance/ are held against our code; so they must not be made by it.
"""

import ipaddress
import json
import struct

RELAY = 0x123456789ABC
OTHER_RELAY = 0x0BADC0FFEE42
EPOCH_NS = 1753255536707800000
DAQ = ("192.168.7.2", 40000)
HISTORY_PORT = 5557
REPLAYED = 1


def readout(readout_id, data=b"\xbc", timestamp=None):
    timestamp = EPOCH_NS + readout_id * 1_000_000 if timestamp is None else timestamp
    return b"\xfe\xdc\xba" + struct.pack("<IQI", readout_id, timestamp, len(data)) + data


def address_bytes(address):
    ip = ipaddress.ip_address(address)
    return ip.packed if ip.version == 6 else bytes(10) + b"\xff\xff" + ip.packed


def header(
    count, sequence, *, relay_id=RELAY, flags=0, version=1, source=DAQ, received_ns=EPOCH_NS, magic=b"APXR"
):
    start = magic + struct.pack("<BBHQQQ", version, flags, count, relay_id, sequence, received_ns)
    return start + address_bytes(source[0]) + struct.pack("<H", source[1]) + bytes(6)


def data(sequence, *readout_ids, stream="astropix", **fields):
    payload = b"".join(map(readout, readout_ids))
    return [f"apx/{stream}/data".encode(), header(len(readout_ids), sequence, **fields), payload]


def counts(received=0, *, before_socket=0, in_kernel=0, rejected=None):
    return {
        "received": received,
        "duplicates": 0,
        "reordered": 0,
        "late": 0,
        "stray": 0,
        "before_joining": 0,
        "rejected": rejected or {},
        "in_kernel": in_kernel,
        "before_socket": before_socket,
        "runs": 1,
    }


def beat(sequence, *, relay_id=RELAY, history_port=None, totals=None, more=None, received_ns=EPOCH_NS):
    totals = totals or counts(sequence)
    report = {
        "state": "live",
        "joined": True,
        "membership": "239.1.1.1:5007 on eth0",
        "received": totals["received"],
        "published": sequence,
        "kernel_dropped": totals["in_kernel"],
        "rejected": totals["rejected"],
        "last_readout_age_s": 0.1,
        "lag_s": 0.0,
        "totals": totals,
        "at_most": False,
        "sources": [{"address": DAQ[0], "port": DAQ[1], **totals}],
        "history_port": history_port,
        **(more or {}),
    }
    head = header(0, sequence, relay_id=relay_id, source=("::", 0), received_ns=received_ns)
    return [b"apx/astropix/beat", head, compact(report)]


def hello(*, relay_id=RELAY, history_port=None, about=None, more=None):
    value = {
        "protocol": 1,
        "version": "0.2.0",
        "relay_id": relay_id,
        "streams": {"astropix": {"readout_uid": 4000, **(about or {})}},
        "history_port": history_port,
        **(more or {}),
    }
    return [b"apx/hello\0" + compact(value)]


def request(kind, a, b, *, request_id=7, relay_id=RELAY, stream=b"astropix", version=1, magic=b"APXQ"):
    return magic + struct.pack("<BBxxQQQQ", version, kind, request_id, relay_id, a, b) + stream


def answer(status, oldest, next_, begin, end, *, request_id=7, relay_id=RELAY, version=1):
    numbers = (request_id, relay_id, oldest, next_, begin, end)
    return b"APXA" + struct.pack("<BBxxQQQQQQ", version, status, *numbers)


def record(head, payload):
    """Return a message as it stands in a page: with the flag of what comes from history."""
    return struct.pack("<I", len(payload)) + head[:5] + bytes([head[5] | REPLAYED]) + head[6:] + payload


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()
