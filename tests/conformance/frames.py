"""The lines of conformance/frames.jsonl: bytes, and what a reader makes of them."""

import struct

from conformance.layout import (
    DAQ,
    EPOCH_NS,
    RELAY,
    answer,
    beat,
    compact,
    data,
    header,
    hello,
    readout,
    record,
    request,
)

TOPIC = b"apx/astropix/data"
BIG = (1 << 64) - 2  # as a floating-point number, it is 2^64
GOLDEN_5 = readout(5, bytes.fromhex("bcbce08056e80da85403bc"), 1753255536707629800)
GOLDEN_6 = readout(6, b"\xbc", 1753255536707700000)


def frames():
    """Return all lines, in order."""
    return [*_messages(), *_bad_messages(), *_requests(), *_answers(), *_pages(), *_follow(), *_slow_lines()]


def _line(name, what, parts, value=None, *, refused=None, section):
    line = {"name": name, "what": what, "section": section, "frames": [part.hex() for part in parts]}
    return {**line, "refused": refused} if refused else {**line, "value": value}


def _header_value(count, sequence, *, flags=0, relay_id=RELAY, received_ns=EPOCH_NS, source=DAQ):
    return {
        "flags": flags,
        "count": count,
        "relay_id": str(relay_id),
        "sequence": str(sequence),
        "received_ns": str(received_ns),
        "address": source[0],
        "port": source[1],
    }


def _readout_value(raw):
    readout_id, timestamp, length = struct.unpack_from("<IQI", raw, 3)
    assert len(raw) == 19 + length
    return {"readout_id": readout_id, "timestamp": str(timestamp), "data": raw[19:].hex()}


def _data_line(
    name, readouts, *, sequence=41, head=None, section="data-messages", stream="astropix", **fields
):
    parts = [
        f"apx/{stream}/data".encode(),
        head or header(len(readouts), sequence, **fields),
        b"".join(readouts),
    ]
    value = {
        "kind": "data",
        "stream": stream,
        **_header_value(len(readouts), sequence, **fields),
        "readouts": [_readout_value(raw) for raw in readouts],
    }
    return _line(name, "message", parts, value, section=section)


def _messages():
    two = [GOLDEN_5, GOLDEN_6]
    yield _data_line("the two readouts of the page", two)
    yield _beat_line("the heartbeat of the page", {"state": "live"})
    yield _data_line("a longer header", two, head=header(2, 41) + bytes(range(16)), section="header")
    yield _data_line("all flags set", two, flags=0xFF, section="header")
    yield _data_line("replayed from history", two, flags=1, section="header")
    yield _data_line("a readout of length 0", [readout(5, b"")], section="readouts")
    sizes = [readout(1, b""), readout(2, b"\xff" * 300), readout(3, b"\x00")]
    yield _data_line("readouts of different lengths", sizes, section="readouts")
    magic_within = [readout(1, bytes.fromhex("fedcba0500000000")), readout(2)]
    yield _data_line("the magic within a readout's data", magic_within, section="readouts")
    largest = [readout((1 << 32) - 1, b"\xbc", BIG)]
    yield _data_line("the largest readout_id, and a timestamp above 2^53", largest, section="readouts")
    big = {"sequence": BIG, "received_ns": (1 << 63) + 1, "relay_id": (1 << 53) - 1}
    yield _data_line("numbers above 2^53", [readout(5)], section="header", **big)
    yield _data_line("an IPv6 source", two, source=("fd00:7::2", 65535), section="header")
    yield _data_line("a source with port 0", two, source=("10.0.0.1", 0), section="header")
    yield _data_line("a stream's name of 64 characters", two, stream="a" * 60 + "-_09", section="topics")
    yield _data_line(
        "400 readouts of length 0", [readout(i, b"") for i in range(400)], section="data-messages"
    )
    yield _beat_line("a heartbeat with unknown keys", {"state": "live", "later": {"a": [1, None]}})
    yield _beat_line("a heartbeat in an unknown state", {"state": "half asleep"})
    yield _beat_line("a heartbeat with text beyond ASCII", {"membership": "239.1.1.1:5007 on eth0 – joined"})
    yield _hello_line("the hello", hello(history_port=5557), history_port=5557)
    notes = {"threshold": "200 mV", "beam": "120 GeV π⁺"}
    yield _hello_line("a hello with notes", hello(about={"notes": notes}), history_port=None)
    yield _hello_line("a hello with a note", hello(about={"notes": "cosmics"}), history_port=None)
    more = {"hops": [1], "history": None}
    unknown = hello(about={"colour": "red"}, more=more)
    yield _hello_line("a hello with unknown keys", unknown, history_port=None)


def _beat_line(name, report, section="heartbeats"):
    received_ns = 1753255537000000000
    head = header(0, 43, source=("::", 0), received_ns=received_ns)
    value = {
        "kind": "beat",
        "stream": "astropix",
        **_header_value(0, 43, source=("::", 0), received_ns=received_ns),
        "json": report,
    }
    return _line(name, "message", [b"apx/astropix/beat", head, compact(report)], value, section=section)


def _hello_line(name, parts, *, history_port):
    value = {
        "kind": "hello",
        "relay_id": str(RELAY),
        "version": "0.2.0",
        "streams": {"astropix": 4000},
        "history_port": history_port,
    }
    return _line(name, "message", parts, value, section="hello")


def _bad_messages():
    payload = GOLDEN_5 + GOLDEN_6
    good = header(2, 41)
    wrong_magic = b"\xfe\xdc\xbb" + GOLDEN_5[3:]
    for name, parts, why, section in (
        ("version 2", [TOPIC, header(2, 41, version=2), payload], "unknown version", "header"),
        ("version 0", [TOPIC, header(2, 41, version=0), payload], "unknown version", "header"),
        ("another magic", [TOPIC, header(2, 41, magic=b"APXA"), payload], "wrong magic", "header"),
        ("a header of 55 bytes", [TOPIC, good[:55], payload], "short header", "header"),
        ("an empty header", [TOPIC, b"", payload], "short header", "header"),
        ("count 0", [TOPIC, header(0, 41), b""], "count", "data-messages"),
        ("count 0 with a payload", [TOPIC, header(0, 41), payload], "count", "data-messages"),
        ("fewer readouts than count", [TOPIC, header(3, 41), payload], "payload", "data-messages"),
        ("more readouts than count", [TOPIC, header(1, 41), payload], "payload", "data-messages"),
        ("a payload cut in the data", [TOPIC, good, payload[:-1]], "payload", "data-messages"),
        ("a payload cut in a header", [TOPIC, good, payload[:-3]], "payload", "data-messages"),
        ("an empty payload", [TOPIC, good, b""], "payload", "data-messages"),
        ("a byte too many", [TOPIC, good, payload + b"\0"], "payload", "data-messages"),
        ("a readout with a wrong magic", [TOPIC, good, wrong_magic + GOLDEN_6], "payload", "readouts"),
        (
            "a length that goes past the end",
            [TOPIC, header(1, 41), GOLDEN_6[:15] + b"\xff\xff\xff\xff" + GOLDEN_6[19:]],
            "payload",
            "readouts",
        ),
        ("two frames", [TOPIC, good], "frames", "in-short"),
        ("four frames", [TOPIC, good, payload, b""], "frames", "in-short"),
        ("a topic of no stream", [b"apx//data", good, payload], "topic", "topics"),
        ("a topic with capitals", [b"apx/AstroPix/data", good, payload], "topic", "topics"),
        ("a topic of another kind", [b"apx/astropix/date", good, payload], "topic", "topics"),
        ("a heartbeat without JSON", [b"apx/astropix/beat", header(0, 43), b"{"], "JSON", "heartbeats"),
        ("a heartbeat that is a list", [b"apx/astropix/beat", header(0, 43), b"[]"], "JSON", "heartbeats"),
        ("a hello without JSON", [b"apx/hello\0"], "JSON", "hello"),
        ("a hello of protocol 2", [b'apx/hello\0{"protocol":2}'], "unknown version", "hello"),
    ):
        yield _line(name, "message", parts, refused=why, section=section)


def _requests():
    section = "request-one-frame"
    for name, kind, a, b, fields in (
        ("the request of the page", 1, 1000, 2000, {}),
        ("a range without an end", 1, 5, (1 << 64) - 1, {"request_id": BIG, "relay_id": 0}),
        ("the latest 10", 2, 10, 0, {}),
        ("the oldest", 3, 0, 0, {}),
        ("since a time", 4, EPOCH_NS, 0, {}),
    ):
        value = {
            "request_kind": kind,
            "request_id": str(fields.get("request_id", 7)),
            "relay_id": str(fields.get("relay_id", RELAY)),
            "a": str(a),
            "b": str(b),
            "stream": "astropix",
        }
        yield _line(name, "request", [request(kind, a, b, **fields)], value, section=section)
    good = request(1, 5, 8)
    for name, frame, why in (
        ("request kind 0", request(0, 5, 8), "kind"),
        ("request kind 5", request(5, 5, 8), "kind"),
        ("a request of version 2", request(1, 5, 8, version=2), "unknown version"),
        ("a request with another magic", request(1, 5, 8, magic=b"APXX"), "wrong magic"),
        ("a request that is cut", good[:39], "short"),
        ("a request without a name", good[:40], "stream"),
        ("a request of a name in capitals", request(1, 5, 8, stream=b"ASTROPIX"), "stream"),
        ("a request of a name beyond ASCII", request(1, 5, 8, stream=b"\xc3\xa4"), "stream"),
        ("an empty request", b"", "short"),
    ):
        yield _line(name, "request", [frame], refused=why, section=section)


def _answers():
    section = "answer-two-frames"
    golden = answer(0, 800, 3000, 1000, 1002)
    for name, frame, numbers in (
        ("the answer of the page", golden, (0, 800, 3000, 1000, 1002)),
        ("a longer answer", golden + b"more", (0, 800, 3000, 1000, 1002)),
        ("part of it is gone", answer(0, 800, 3000, 800, 900), (0, 800, 3000, 800, 900)),
        ("all of it is gone", answer(0, 800, 3000, 700, 700), (0, 800, 3000, 700, 700)),
        ("nothing of it is published yet", answer(0, 0, 5, 5, 5), (0, 0, 5, 5, 5)),
        ("an answer above 2^53", answer(0, BIG - 9, BIG, BIG - 9, BIG), (0, BIG - 9, BIG, BIG - 9, BIG)),
        ("unknown stream", answer(1, 0, 0, 0, 0), (1, 0, 0, 0, 0)),
        ("other relay", answer(2, 0, 0, 0, 0), (2, 0, 0, 0, 0)),
        ("malformed", answer(3, 0, 0, 0, 0, request_id=0), (3, 0, 0, 0, 0)),
    ):  # fmt: skip
        status, oldest, next_, begin, end = numbers
        value = {
            "status": status,
            "request_id": "0" if status == 3 else "7",
            "relay_id": str(RELAY),
            "oldest": str(oldest),
            "next": str(next_),
            "begin": str(begin),
            "end": str(end),
        }
        yield _line(name, "answer", [frame], value, section=section)
    for name, frame, why in (
        ("an answer that is cut", golden[:55], "short"),
        ("an answer of version 2", answer(0, 0, 0, 0, 0, version=2), "unknown version"),
        ("an answer with an unknown status", answer(9, 0, 0, 0, 0), "status"),
        ("an answer with another magic", b"APXQ" + golden[4:], "wrong magic"),
    ):
        yield _line(name, "answer", [frame], refused=why, section=section)


def _pages():
    section = "answer-two-frames"
    first = data(1000, 5, 6)[1:]
    second = data(1002, 7, source=("fd00::1", 9))[1:]
    whole = record(*first) + record(*second)
    value = [
        {
            **_header_value(2, 1000, flags=1),
            "readouts": [_readout_value(readout(5)), _readout_value(readout(6))],
        },
        {**_header_value(1, 1002, flags=1, source=("fd00::1", 9)), "readouts": [_readout_value(readout(7))]},
    ]
    yield _line("a page of two messages", "page", [whole], value, section=section)
    yield _line("an empty page", "page", [b""], [], section=section)
    for name, page in (
        ("a page cut in its last payload", whole[:-1]),
        ("a page cut in a header", whole[: len(record(*first)) + 30]),
        ("a page cut in a size", whole[: len(record(*first)) + 3]),
        ("a page whose record has no readout", struct.pack("<I", 0) + first[0]),
        ("a page of another version", struct.pack("<I", 20) + header(1, 1000, version=2) + readout(5)),
    ):
        yield _line(name, "page", [page], refused="page", section=section)


# 40 readouts of 10 idle bytes, by libzstd 1.5.7
COMPRESSED_40 = bytes.fromhex(
    "28b52ffd608803c50600b409fedcba00000000c08bf4199fd054180a00fedcba01ce031a020000004010130300000080"
    "52220494311a05d740061950075b5f089d6e09e07d0a228d0b649c0ca6ab0de9ba0e2bca0f6dd910afe811f2f7123407"
    "1b1376161b14b8251b15fb341b163d44177f5318c1621904721a46811b88901cca9f1d0daf1e4fbe1f91cd20d3dc2116"
    "ec2258fb239a0a1c24dc191c251f291c2661381c27a3474da81100da55ad6fe0a50e11008647841581f401d25153a386"
    "64bc57bcc7bcaef81339b2b6c60bfcc3bc97f8c76c17a45b50c51d48be9ca935a802"
)


def zstd_frame(content, *, size=None, block=0):
    """Return a zstd frame of one block as it is (block 0), or of one byte again and again (1)."""
    size = len(content) if size is None else size
    told = (len(content) << 3 | block << 1 | 1).to_bytes(3, "little")
    return bytes.fromhex("28b52ffda0") + struct.pack("<I", size) + told + (content[:1] if block else content)


def _slow_lines():
    """Messages of the topics for slow lines; `stride` and `covered` are null where nothing is thinned."""
    compressed, thinned = b"apxz/astropix/data", b"apxt/astropix/250000/data"
    two = GOLDEN_5 + GOLDEN_6
    small_frame = (
        bytes.fromhex("28b52ffd20") + bytes([len(two)]) + (len(two) << 3 | 1).to_bytes(3, "little") + two
    )
    forty = [readout(i, bytes(10)) for i in range(40)]

    def line(name, topic, head, payload, readouts, sequence=41, flags=0, part=(None, None), source=DAQ):
        value = {
            **{"kind": "data", "stream": "astropix"},
            **_header_value(len(readouts), sequence, flags=flags, source=source),
            **{"readouts": [_readout_value(raw) for raw in readouts], "stride": part[0], "covered": part[1]},
        }
        return _line(name, "slow line", [topic, head, payload], value, section="slow-lines")

    def thin(count, sequence, *part, **fields):
        return header(count, sequence, **fields) + struct.pack("<II", *part)

    both = [GOLDEN_5, GOLDEN_6]
    yield line(
        "the compressed message of the page", compressed, header(2, 41, flags=2), small_frame, both, flags=2
    )
    yield line("the thinned message of the page", thinned, thin(1, 41, 2, 3), GOLDEN_6, both[1:], part=(2, 3))
    yield line("40 compressed readouts", compressed, header(40, 41, flags=2), COMPRESSED_40, forty, flags=2)
    yield line("a message that is not compressed", compressed, header(2, 41), two, both)
    both_topic = b"apxtz/astropix/8000/data"
    head = thin(2, 40, 4, 6, flags=2)
    yield line("compressed and thinned", both_topic, head, small_frame, both, 40, flags=2, part=(4, 6))
    for name, head, why in (
        ("a frame of a gibibyte", zstd_frame(bytes(1 << 17), size=1 << 30, block=1), "too large"),
        (
            "a frame of 128 KiB and a byte",
            zstd_frame(bytes(1 << 17), size=(1 << 17) + 1, block=1),
            "too large",
        ),
        ("a frame that does not tell its size", bytes.fromhex("28b52ffd0000") + small_frame[6:], "no size"),
        ("a frame that is cut", small_frame[:-1], "zstd"),
        ("a payload that is no frame", two, "zstd"),
        ("a frame that tells another size", zstd_frame(two, size=len(two) + 1), "zstd"),
    ):
        frames = [compressed, header(2, 41, flags=2), head]
        yield _line(name, "slow line", frames, refused=why, section="slow-lines")
    for name, head in (
        ("a thinned header that is cut", header(1, 41) + bytes(7)),
        ("a stride of 0", thin(1, 41, 0, 3)),
        ("a count that contradicts what is covered", thin(2, 41, 2, 3)),
    ):
        yield _line(name, "slow line", [thinned, head, GOLDEN_6], refused="header", section="slow-lines")


def _follow():
    """One message at a given `expected`: what is handed out, what is lost, and what is expected then."""
    for name, expected, parts, deliver, lost, then in (
        ("what is expected", 5, data(5, 105, 106), [105, 106], 0, 7),
        ("a gap", 5, data(8, 108), [108], 3, 9),
        ("all of it known", 5, data(3, 103, 104), [], 0, 5),
        ("far below", 50, data(3, 103), [], 0, 50),
        ("an overlap", 5, data(3, 103, 104, 105, 106), [105, 106], 0, 7),
        ("an overlap of all but the last", 5, data(0, 100, 101, 102, 103, 104, 105), [105], 0, 6),
        ("a heartbeat with what is expected", 5, beat(5), [], 0, 5),
        ("a heartbeat after a gap", 5, beat(9), [], 4, 9),
        ("a heartbeat from before", 5, beat(2), [], 0, 5),
        ("a gap above 2^53", (1 << 53) + 1, data((1 << 53) + 4, 7), [7], 3, (1 << 53) + 5),
    ):
        line = _line(name, "follow", parts, None, section="numbers")
        yield {
            **line,
            "expected": str(expected),
            "value": {"deliver": deliver, "lost": lost, "expected": str(then)},
        }
