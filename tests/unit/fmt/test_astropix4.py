"""The format of readouts and hits: golden bytes, and any bytes."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream import fmt
from astropix_stream.errors import FormatError
from astropix_stream.fmt import AstroPix4Hit, AstroPix4Readout

SHARED = Path(__file__).parents[4] / "shared" / "data"

# A readout of a real run: 19 bytes of header, 16 of data.
GOLDEN = bytes.fromhex("fedcba 00000000 e8f2f1199fd05418 10000000 bcbce0401eac0dccc200bcbcbcbcbcbc")

# Bytes that look like hits: whole, cut and joined, with idle and padding between.


def test_a_real_readout():
    readout = AstroPix4Readout.from_bytes(GOLDEN)
    assert (readout.readout_id, readout.timestamp) == (0, 1753255536707629800)
    assert readout.hex() == "bcbce0401eac0dccc200bcbcbcbcbcbc"
    (hit,) = readout.decode()
    assert dict(zip(hit.ATTRIBUTE_NAMES, hit.attribute_values(), strict=True)) == {
        "chip_id": 0, "payload": 7, "readout_id": 0, "timestamp": 1753255536707629800, "decoding_order": 0,
        "row": 0, "column": 9, "ts_neg1": 1, "ts_coarse1": 12395, "ts_fine1": 3, "ts_tdc1": 0, "ts_neg2": 0,
        "ts_coarse2": 13123, "ts_fine2": 0, "ts_tdc2": 0, "ts_dec1": 66157, "ts_dec2": 70639, "tot_us": 224.1,
    }  # fmt: skip
    assert readout.to_bytes() == GOLDEN


def test_the_order_of_the_fields():
    names = (
        "chip_id payload readout_id timestamp decoding_order row column ts_neg1 ts_coarse1 ts_fine1 ts_tdc1 "
        "ts_neg2 ts_coarse2 ts_fine2 ts_tdc2 ts_dec1 ts_dec2 tot_us"
    )
    assert " ".join(AstroPix4Hit.ATTRIBUTE_NAMES) == names


def test_the_counter_rolls_over_between_the_two_timestamps():
    (hit,) = AstroPix4Readout(bytes.fromhex("bcbce0400ace05805606bcbc"), 18, 0).decode()
    assert hit.attribute_values(["ts_dec1", "ts_dec2", "tot_us"]) == [129580, 134557, 248.85]


@given(st.binary(min_size=8, max_size=8))
def test_a_hit_reads_its_fields_from_64_bits(data):
    hit = AstroPix4Hit(data, 1, 2, 3)
    bits = "".join(f"{byte:08b}" for byte in data)
    widths = [5, 3, 5, 5, 1, 14, 3, 5, 1, 14, 3, 5]
    fields = []
    for width in widths:
        fields.append(int(bits[:width], 2))
        bits = bits[width:]
    assert [value for name, value in zip(hit.ATTRIBUTE_NAMES, hit.attribute_values(), strict=True)
            if name in fmt.BIT_FIELDS] == fields  # fmt: skip
    assert hit.ts_dec1 ^ hit.ts_dec1 >> 1 == hit.ts_coarse1 * 8 + hit.ts_fine1
    second = hit.ts_dec2 % 2**17
    assert second ^ second >> 1 == hit.ts_coarse2 * 8 + hit.ts_fine2
    assert 0 <= hit.ts_dec2 - hit.ts_dec1 < 2**17
    assert hit.tot_us == (hit.ts_dec2 - hit.ts_dec1) / 20
    assert (hit.readout_id, hit.timestamp, hit.decoding_order) == (1, 2, 3)


def test_hits_are_equal_when_their_bytes_are():
    hit = AstroPix4Hit(b"12345678", 1, 2, 3)
    assert hit == AstroPix4Hit(bytearray(b"12345678"), 4, 5, 6)
    assert hash(hit) == hash(AstroPix4Hit(b"12345678", 4, 5, 6))
    assert hit != AstroPix4Hit(b"12345679", 1, 2, 3)
    assert hit != b"12345678"
    with pytest.raises(FormatError, match="8 bytes, not 3"):
        AstroPix4Hit(b"123", 1, 2, 3)


TWO_HITS = "bcbc e08056e80da85403 bcbcbcbcbcbcbcbc e080d26f04ca3005 bcbcbcbcbcbc"


def test_the_import_needs_little():
    # A DAQ imports this: nothing that is slow to import may come along (typing comes with `sock` anyway).
    code = "import sys, astropix_stream.fmt; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)
    heavy = {"numpy", "logging", "json", "dataclasses", "zmq", "inspect"}
    assert not heavy & set(loaded.stdout.split())


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="there is no ../shared/data")
def test_the_vectors_and_the_real_run():
    script = [sys.executable, "-B", str(SHARED / "check_vectors.py")]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "0 vectors wrong; 0 of 776 hits of the real run wrong", done.stderr
