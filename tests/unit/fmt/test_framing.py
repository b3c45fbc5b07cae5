"""The framing that all kinds share."""

import pytest

from astropix_stream import fmt
from astropix_stream.errors import FormatError
from astropix_stream.fmt import AstroPix4Readout

# A readout of a real run: 19 bytes of header, 16 of data.
GOLDEN = bytes.fromhex("fedcba 00000000 e8f2f1199fd05418 10000000 bcbce0401eac0dccc200bcbcbcbcbcbc")


@pytest.mark.parametrize(
    ("raw", "wrong"),
    [
        (b"", "0 bytes, where the header of a readout is 19"),
        (GOLDEN[:18], "18 bytes, where the header"),
        (b"\xfe\xdc\xbb" + GOLDEN[3:], "begins with fe dc bb, not with the magic fe dc ba"),
        (GOLDEN[:-1], "announces 16 bytes of data, 15 follow"),
        (GOLDEN + b"\0", "announces 16 bytes of data, 17 follow"),
        (GOLDEN[:15] + b"\xff" * 4, "announces 4294967295 bytes of data, more than the 65488 of a datagram"),
    ],
)
def test_bytes_that_are_no_readout(raw, wrong):
    with pytest.raises(FormatError, match=wrong):
        AstroPix4Readout.from_bytes(raw)


def test_the_largest_datagram():
    assert len(AstroPix4Readout(bytes(fmt.MAX_DATA), 0, 0).to_bytes()) == fmt.MAX_DATAGRAM == 65507
    raw = AstroPix4Readout(bytes(fmt.MAX_DATA), 0, 0).to_bytes()
    assert AstroPix4Readout.from_bytes(raw).to_bytes() == raw


def test_split_stops_before_what_is_incomplete():
    walk = fmt.split(GOLDEN + GOLDEN + GOLDEN[:-1])
    assert [next(walk), next(walk)] == [(GOLDEN, 0, 1753255536707629800)] * 2
    with pytest.raises(StopIteration) as stop:
        next(walk)
    assert stop.value.value == 2 * len(GOLDEN)


def test_split_tells_where_the_damage_is():
    walk = fmt.split(GOLDEN + b"\0" * 40, base=1000)
    next(walk)
    with pytest.raises(FormatError, match="not a readout at byte 1035: begins with 00 00 00"):
        next(walk)
