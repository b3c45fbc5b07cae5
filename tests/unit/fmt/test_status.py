"""The bits of a decoding."""

from astropix_stream import fmt
from astropix_stream.fmt import Decoding


def test_the_bits_of_the_status():
    assert [bit.name for bit in Decoding] == [
        "ORPHAN_BYTES_MATCHED", "ORPHAN_BYTES_DROPPED", "ORPHAN_BYTES_NOT_USED", "VALID_EXTRA_BYTES",
        "INVALID_EXTRA_BYTES", "INCOMPLETE_HIT_DROPPED", "NOT_ALL_BYTES_VISITED", "UNKNOWN_FATAL_ERROR",
    ]  # fmt: skip
    assert list(Decoding) == list(range(8))
    assert str(fmt.DecodingStatus(0b101000)) == "VALID_EXTRA_BYTES, INCOMPLETE_HIT_DROPPED"
    assert str(fmt.DecodingStatus(0)) == "clean"
