"""Links for slow lines: topics, bandwidths, compressed payloads, thinned messages."""

import contextlib
import sys

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream import links, wire
from astropix_stream.batch import Source
from astropix_stream.errors import ConfigError, WireError
from astropix_stream.links import Link, Part

SOURCE = Source("10.0.0.1", 40_000)


def header(count, sequence=0, flags=0, part=None):
    packed = wire.pack_header((flags, count, 7, sequence, 10**18, SOURCE))
    return packed + (links.THINNED.pack(*part) if part else b"")


@pytest.mark.parametrize(
    ("link", "topic"),
    [
        (Link(), b"apx/s-1/data"),
        (Link(compressed=True), b"apxz/s-1/data"),
        (Link(max_bandwidth=250_000), b"apxt/s-1/250000/data"),
        (Link(True, 8_000), b"apxtz/s-1/8000/data"),
    ],
)
def test_topics(link, topic):
    assert link.topic("s-1") == topic
    assert links.parse_topic(topic) == (None if link.plain else ("s-1", link))


@pytest.mark.parametrize(
    "topic",
    [
        *(
            b"",
            b"apx/s/data",
            b"apx",
            b"apxz/",
            b"apxz/s/",
            b"apxz/S/data",
            b"apxz/hello/data",
            b"apxz/s/beat",
        ),
        *(
            b"apxt/s/data",
            b"apxz/s/250000/data",
            b"apxt/s/0250000/data",
            b"apxt/s/7999/data",
            b"apxzt/s/9000/data",
        ),
        b"apxt/s/1000000001/data",
    ],
)
def test_what_is_no_topic_of_a_link(topic):
    assert links.parse_topic(topic) is None


def test_no_topic_begins_with_what_plain_subscribers_follow():
    for link in (Link(True), Link(False, 9000), Link(True, 9000)):
        assert not link.topic("s").startswith(wire.stream_prefix("s"))


def test_what_a_link_needs():
    assert Link().needs() == frozenset()
    assert Link(True, 9000).needs() == {"zstd", "thinned"}


@pytest.mark.parametrize(
    ("text", "bytes_per_s"),
    [("2Mbit/s", 250_000), ("2Mbit", 250_000), ("250 kB/s", 250_000), ("1.5MB/s", 1_500_000), (9000, 9000)],
)
def test_bandwidths(text, bytes_per_s):
    assert links.parse_bandwidth(text) == bytes_per_s
    assert links.parse_link(None, text) == Link(False, bytes_per_s)


@pytest.mark.parametrize("wrong", ["", "2", "2 Mb/s", "-1kB/s", "2Mbit/h", "1kbit/s", "9GB/s", 0, 7999, True])
def test_what_is_no_bandwidth(wrong):
    with pytest.raises(ConfigError, match="max_bandwidth"):
        links.parse_link(None, wrong)


def test_zstd_is_the_only_compression():
    assert links.parse_link("zstd", None) == Link(True)
    with pytest.raises(ConfigError, match="compress=gzip"):
        links.parse_link("gzip", None)


def test_without_the_library(monkeypatch):
    links.check_installed()
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ConfigError, match=r"pip install 'astropix-stream\[zstd\]'"):
        links.check_installed()


@given(st.binary(max_size=2000))
def test_compressed_and_back(payload):
    assert links.decompress(links.compress(payload)) == payload


@given(st.binary(max_size=100))
def test_any_bytes_unpack_or_raise(frame):
    with contextlib.suppress(WireError):
        links.decompress(frame)


def test_a_bomb_is_refused_before_memory_is_taken():
    bomb = links.compress(bytes(links.MAX_PLAIN + 1))
    assert len(bomb) < 100
    with pytest.raises(WireError, match="more than"):
        links.decompress(bomb)
    assert links.decompress(links.compress(bytes(links.MAX_PLAIN))) == bytes(links.MAX_PLAIN)
    unknown = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 24))
    with pytest.raises(WireError, match="unknown size"):
        links.decompress(unknown)
    lying = bytearray(links.compress(bytes(range(256)) * 4))
    lying[5] ^= 1  # the size of the content
    with pytest.raises(WireError):
        links.decompress(bytes(lying))
    with pytest.raises(WireError):
        links.decompress(links.compress(b"one") + links.compress(b"two"))


def test_a_thinned_message_says_what_it_stands_for():
    assert Part(4, 10).kept(0) == range(0, 10, 4)
    assert Part(4, 2).kept(9) == range(12, 11, 4)
    assert list(Part(4, 8).kept(9)) == [12, 16]
    assert links.parse_part(header(2, 9, part=(4, 8))) == Part(4, 8)
    assert links.parse_part(header(0, 9, part=(4, 2))) == Part(4, 2)
    assert links.parse_part(header(0, 9, part=(1, 0))) == Part(1, 0)


@pytest.mark.parametrize("part", [None, (0, 5), (1, 5), (4, 3)])
def test_a_thinned_message_that_contradicts_itself(part):
    with pytest.raises(WireError):
        links.parse_part(header(2, 9, part=part))


def test_messages():
    payload = bytes.fromhex("fedcba0500000000000000000000000200 0000bcbc")
    topic = Link(True).topic("s")
    plain = links.parse_message(topic, header(1), payload)
    assert plain.message == wire.DataMessage("s", wire.Header(0, 1, 7, 0, 10**18, SOURCE), payload)
    assert plain.part is None
    packed = links.parse_message(topic, header(1, flags=links.COMPRESSED), links.compress(payload))
    assert packed.message.payload == payload
    thinned = links.parse_message(Link(False, 9000).topic("s"), header(1, 8, part=(4, 4)), payload)
    assert thinned.part == Part(4, 4)


@pytest.mark.parametrize(
    ("topic", "head", "payload"),
    [
        (b"apx/s/data", header(1), b""),
        (b"apxt/s/9000/data", header(1), b""),
        (b"apxt/s/9000/data", header(1, flags=links.COMPRESSED, part=(1, 1)), links.compress(b"")),
        (b"apxz/s/data", header(1, flags=links.COMPRESSED), b"no zstd"),
        (b"apxz/s/data", b"", b""),
    ],
)
def test_what_is_no_message_of_a_link(topic, head, payload):
    with pytest.raises(WireError):
        links.parse_message(topic, head, payload)
