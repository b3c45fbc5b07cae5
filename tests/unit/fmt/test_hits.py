"""What the hits of all kinds have in common."""

import pytest

from astropix_stream.errors import FormatError
from astropix_stream.fmt import AStepHit, AstroPix3Hit, AstroPix4Hit, Hit

KINDS = {AstroPix4Hit: b"12345678", AstroPix3Hit: b"12345", AStepHit: b"\x0112345abcd"}


@pytest.mark.parametrize("kind", KINDS)
def test_hits_are_equal_when_their_bytes_are(kind):
    data = KINDS[kind]
    hit, same, other = kind(data, 1, 2, 3), kind(bytearray(data), 4, 5, 6), kind(data[:-1] + b"!", 1, 2, 3)
    assert hit == same
    assert hash(hit) == hash(same)
    assert hit != other
    assert hit != data


def test_hits_of_other_kinds_are_not_equal():
    half, framed = AstroPix3Hit(b"12345", 0, 0, 0), AStepHit(b"\x0112345abcd", 0, 0, 0)
    assert half.bits == framed.bits
    assert half != framed
    assert framed != half
    assert half != AstroPix4Hit(b"\0\0\x0012345", 0, 0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_in_the_order_of_the_names(kind):
    hit = kind(KINDS[kind], 1, 2, 3)
    assert tuple(kind.TYPES) == kind.ATTRIBUTE_NAMES
    assert hit.attribute_values() == [getattr(hit, name) for name in kind.ATTRIBUTE_NAMES]
    assert hit.attribute_values(["decoding_order", "chip_id"]) == [3, hit.chip_id]
    assert repr(hit).startswith(f"{kind.__name__}({kind.ATTRIBUTE_NAMES[0]}=")


@pytest.mark.parametrize("kind", KINDS)
def test_a_hit_of_another_size_is_refused(kind):
    with pytest.raises(FormatError, match=r"not [13]"):
        kind(b"123" if kind is not AStepHit else b"1", 1, 2, 3)


def test_a_class_of_ones_own():
    class Byte(Hit):
        SIZE = 1

    assert str(Byte(b"\x07", 5, 6, 2)) == "hit 2 of readout 5: 1 bytes"
    assert Byte(b"\x07", 5, 6, 2).attribute_values() == [5, 6, 2]
