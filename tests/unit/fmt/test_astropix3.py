"""AstroPix 3: half hits, as the format describes them and as a real run has them."""

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astropix_stream.fileio import apx_open
from astropix_stream.fmt import ASTROPIX3, AstroPix3Hit, AstroPix3Readout, pair_half_hits, reverse_bit_order

SHARED = Path(__file__).parents[4] / "shared" / "data"

# The first readout's first two half hits of a real run: row 8 and column 13.
REAL = bytes.fromhex("2010e9003b 20b1e90083")


def test_half_hits_of_a_real_readout():
    readout = AstroPix3Readout(b"\xbc\xbc" + REAL + b"\xbc\xff\xff", 0, 0)
    row, column = readout.decode()
    assert row.attribute_values() == [0, 4, 0, 0, 0, 0, 8, 151, 0, 220, 220, 1.1]
    assert column.attribute_values() == [0, 4, 0, 0, 1, 1, 13, 151, 0, 193, 193, 0.965]
    assert not readout.decoding_status()
    assert readout.pretty_print().splitlines()[1:] == [
        "  hit 0 of readout 0: chip 0, row 8, TOT 1.10 us",
        "  hit 1 of readout 0: chip 0, column 13, TOT 0.96 us",
        "  decoding: clean",
    ]


def test_the_kind():
    assert (ASTROPIX3.uid, ASTROPIX3.name, ASTROPIX3.clock_mhz) == (3000, "AstroPix 3", 200)
    assert (ASTROPIX3.rows, ASTROPIX3.columns, ASTROPIX3.half_hits) == (35, 35, True)
    assert " ".join(ASTROPIX3.types.values()) == "u1 u1 u4 u8 u2 u1 u1 u1 u1 u1 u2 f8"
    assert " ".join(AstroPix3Hit.ATTRIBUTE_NAMES) == (
        "chip_id payload readout_id timestamp decoding_order is_column location ts tot_msb tot_lsb tot tot_us"
    )


@settings(deadline=None)
@given(st.binary(min_size=5, max_size=5))
def test_a_half_hit_reads_its_fields_from_40_bits(data):
    hit = AstroPix3Hit(reverse_bit_order(data), 1, 2, 3)
    bits = "".join(f"{byte:08b}"[::-1] for byte in data)
    places = {
        "chip_id": (0, 4), "payload": (5, 7), "is_column": (8, 8), "location": (10, 15), "ts": (16, 23),
        "tot_msb": (28, 31), "tot_lsb": (32, 39),
    }  # fmt: skip
    for name, (first, last) in places.items():
        assert getattr(hit, name) == int(bits[first : last + 1], 2)
    assert hit.tot == 256 * hit.tot_msb + hit.tot_lsb
    assert hit.tot_us == hit.tot / 200


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="there is no ../shared/data")
def test_the_real_run():
    """Every half hit, and as many pixels as the description of the format promises."""
    table = (SHARED / "run_20250729_astropix3_hits.csv").read_text().splitlines()
    rows = [*csv.DictReader(line for line in table if not line.startswith("#"))]
    hits, extra, pixels, unpaired = [], None, 0, 0
    with apx_open(SHARED / "run_20250729_astropix3.apx") as run:
        for readout in run:
            hits += readout.decode(extra)
            extra = readout.extra_bytes()
            found, left = pair_half_hits(readout.hits(), ASTROPIX3.pixel_rule)
            pixels, unpaired = pixels + len(found), unpaired + left
    assert [[float(value) for value in row.values()] for row in rows] == [
        hit.attribute_values(list(rows[0])) for hit in hits
    ]
    assert (len(hits), pixels, unpaired) == (2992, 881, 2992 - 2 * 881)
