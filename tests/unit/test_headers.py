"""Headers of readouts of one size, read at once, say what they say one by one."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream import fmt, headers


def equal_readouts(first_id, count, size, stride=1):
    rest = bytes(size - fmt.HEADER_SIZE)
    ids = [(first_id + i * stride) % (1 << 32) for i in range(count)]
    return ids, b"".join(fmt.HEADER.pack(fmt.MAGIC, i, 10**18 + i, len(rest)) + rest for i in ids)


@given(
    st.sampled_from([0, 200, 65500, 0xFFFFFF, (1 << 32) - 100]),
    st.integers(1, 260),
    st.sampled_from([19, 20, 35, 300]),
    st.sampled_from([1, 1, 1, 2, 10]),
)
def test_ids_of_equal_readouts_are_found_at_once(first_id, count, size, stride):
    """Over carries and the counter's end, and where they are too many."""
    ids, payload = equal_readouts(first_id, count, size, stride)
    found = headers.parse_equal_ids(payload, count)
    if count > 256:
        assert found is None
    else:
        assert list(found) == ids
        timestamps, expected = headers.EqualTimestamps(payload, count), [10**18 + i for i in ids]
        assert [*timestamps] == expected == [timestamps[i] for i in range(len(timestamps))]
        assert timestamps[-1] == expected[-1]
        assert timestamps[1:-1] == tuple(expected[1:-1])
        with pytest.raises(IndexError):
            timestamps[count]


@given(st.lists(st.tuples(st.integers(0, 0xFFFFFFFF), st.sampled_from([0, 0, 0, 16, 300])), min_size=1))
def test_readouts_that_came_apart_are_put_together(script):
    datagrams = [
        fmt.HEADER.pack(fmt.MAGIC, i, 10**18 + at, size) + bytes(size) for at, (i, size) in enumerate(script)
    ]
    payload = b"".join(datagrams)
    ids, timestamps, ends = headers.columns_of(payload, len(datagrams))
    assert [*ids] == [i for i, _ in script]
    assert [*timestamps] == [10**18 + at for at in range(len(script))]
    assert [payload[begin:end] for begin, end in pairwise((0, *ends))] == datagrams


def test_readouts_that_count_on_make_no_objects():
    for size in (19, 35, 64, 4000):
        assert isinstance(headers.parse_equal_ids(equal_readouts(250, 60, size)[1], 60), range)


@given(st.integers(1, 70), st.data())
def test_a_bit_that_is_wrong_in_a_header_is_seen(count, data):
    ids, payload = equal_readouts(230, count, 35)
    at = data.draw(st.integers(0, len(payload) - 1))
    damaged = bytearray(payload)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    found = headers.parse_equal_ids(bytes(damaged), count)
    begin = at // 35 * 35
    changed_id = int.from_bytes(damaged[begin + 3 : begin + 7], "little")
    if at % 35 in (0, 1, 2, 15, 16, 17, 18):
        assert found is None
    else:
        assert list(found) == [*ids[: at // 35], changed_id, *ids[at // 35 + 1 :]]


@pytest.mark.parametrize(
    ("payload", "count"), [(b"", 0), (b"", 1), (b"\xfe", 1), (bytes(35), 1), (bytes(36), 2)]
)
def test_what_are_no_equal_readouts_have_no_ids(payload, count):
    assert headers.parse_equal_ids(payload, count) is None


@pytest.mark.parametrize(
    ("datagram", "right"),
    [
        (fmt.HEADER.pack(fmt.MAGIC, 7, 0, 2) + b"ab", True),
        (fmt.HEADER.pack(fmt.MAGIC, 7, 0, 0), True),
        (fmt.HEADER.pack(fmt.MAGIC, 7, 0, 3) + b"ab", False),
        (fmt.HEADER.pack(b"APX", 7, 0, 2) + b"ab", False),
        (fmt.HEADER.pack(fmt.MAGIC, 7, 0, 0)[:-1], False),
        (b"", False),
    ],
)
def test_a_datagram_is_a_readout_if_magic_and_length_are_right(datagram, right):
    assert headers.is_readout(datagram) is right


def test_timestamps_are_shown_as_they_are():
    _, payload = equal_readouts(5, 3, 35)
    assert repr(headers.EqualTimestamps(payload, 3)) == repr((10**18 + 5, 10**18 + 6, 10**18 + 7))
