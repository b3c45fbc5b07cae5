"""Simulated readouts: what the decoder makes of them, and whether they look like a detector's."""

from collections import Counter
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.cli.playing.simulation import COLUMNS, MAX_CHIP, ROWS, Beam, Detector, pack_hit
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import (
    ASTEP,
    ASTROPIX3,
    ASTROPIX4,
    AstroPix4Readout,
    Decoding,
    kind_of,
    pair_half_hits,
)


def decode(hit):
    readout = AstroPix4Readout(b"\xbc" + hit + b"\xbc", 0, 0)
    (found,) = readout.decode()
    assert not readout.decoding_status()
    return found


@given(
    row=st.integers(0, ROWS - 1),
    column=st.integers(0, COLUMNS - 1),
    start=st.integers(0, 2**60),
    tot=st.integers(0, 2**17 - 1),
    options=st.fixed_dictionaries({"chip": st.integers(0, MAX_CHIP), "edges": st.integers(0, 3)}),
)
def test_hits_decode_to_what_was_packed(row, column, start, tot, options):
    hit = decode(pack_hit(row, column, start, start + tot, **options))
    assert (hit.chip_id, hit.row, hit.column) == (options["chip"], row, column)
    assert hit.ts_dec1 == start % 2**17
    assert hit.tot_us == tot / 20
    assert (hit.ts_neg1, hit.ts_neg2) == (options["edges"] & 1, options["edges"] >> 1)


def test_a_hit_of_a_real_run():
    """Bytes of a chip under charge injection: row 0, column 9, TOT 224.1 us."""
    assert pack_hit(0, 9, 66157, 70639, edges=1) == bytes.fromhex("e0401eac0dccc200")


def simulate(count, **options):
    return [readout for _, readout in islice(Detector(**options).readouts(1_000_000), count)]


def test_every_readout_decodes_cleanly():
    readouts = simulate(2000, seed=1, hits=3)
    assert not any(readout.decoding_status() for readout in readouts)
    assert [readout.readout_id for readout in readouts] == list(range(2000))
    counts = [len(readout.hits()) for readout in readouts]
    mean = sum(counts) / 2000
    assert mean == pytest.approx(3, abs=0.2)
    assert sum((count - mean) ** 2 for count in counts) / 2000 == pytest.approx(3, abs=0.4)


def test_a_seed_gives_the_same_detector_again():
    assert simulate(50, seed=3) == simulate(50, seed=3) != simulate(50, seed=4)


def test_timing():
    dues = list(islice(Detector(rate=200).readouts(5_000), 3))
    assert [due_s for due_s, _ in dues] == [0, 0.005, 0.01]
    assert [readout.timestamp for _, readout in dues] == [5_000, 5_005_000, 10_005_000]


def test_no_hits():
    (readout,) = simulate(1, hits=0)
    assert readout.hits() == []
    assert readout.data()


def test_it_looks_like_a_detector():
    detector = Detector(seed=1, hits=10)
    hits = [hit for _, readout in islice(detector.readouts(), 2000) for hit in readout.hits()]
    pixels = Counter((hit.row, hit.column) for hit in hits)
    assert set(pixels) == {(row, column) for row in range(ROWS) for column in range(COLUMNS)}
    quiet = {pixel: count for pixel, count in pixels.items() if pixel not in detector.noisy}
    row, column = max(quiet, key=quiet.__getitem__)
    assert abs(row - detector.beam.row) <= 1.5
    assert abs(column - detector.beam.column) <= 1.5
    assert min(pixels[pixel] for pixel in detector.noisy) > 3 * pixels[ROWS - 1, 0]
    spectrum = Counter(int(hit.tot_us / 20) for hit in hits)
    assert max(spectrum, key=spectrum.__getitem__) == 3  # the most probable TOT is 60 us
    assert spectrum[12] > 10 * spectrum[9] > 0  # the tail, and charge injection at 240 us beyond it


def test_another_beam():
    hits = Detector(seed=1, hits=500, beam=Beam(row=0, column=15, background=0, noise=0)).readout(0, 0).hits()
    assert sum(hit.row < 5 and hit.column > 9 for hit in hits) > 450


def decoded(readouts):
    """Decode, with hits that were split between two readouts."""
    extra = None
    for readout in readouts:
        readout.decode(extra)
        extra = readout.extra_bytes()
    return readouts


@pytest.mark.parametrize(("kind", "hits"), [(ASTROPIX4, 3), (ASTROPIX3, 6), (ASTEP, 6)])
def test_each_kind_decodes_to_about_what_was_hit(kind, hits):
    readouts = decoded(simulate(1000, seed=1, hits=3, kind=kind))
    assert {type(readout) for readout in readouts} == {kind.readout_class}
    assert sum(len(readout.hits()) for readout in readouts) / 1000 == pytest.approx(hits, rel=0.1)


def test_half_hits_of_version_3_make_pixels_where_the_beam_is():
    readouts = decoded(simulate(1000, seed=1, kind=ASTROPIX3))
    pixels = [
        pixel for readout in readouts for pixel in pair_half_hits(readout.hits(), ASTROPIX3.pixel_rule)[0]
    ]
    assert 2400 < len(pixels) < 3000
    middle = [pixel for pixel in pixels if abs(pixel.column - 17) < 12 and abs(pixel.row - 17) < 10]
    assert len(middle) > 0.8 * len(pixels)


def test_version_3_cuts_half_hits_as_a_real_board_does():
    statuses = [readout.decoding_status() for readout in decoded(simulate(1000, seed=1, kind=ASTROPIX3))]
    matched = sum(status[Decoding.ORPHAN_BYTES_MATCHED] for status in statuses)
    assert 0.05 * 1000 < matched < 0.25 * 1000
    assert any(status[Decoding.INCOMPLETE_HIT_DROPPED] for status in statuses)


def test_frames_of_three_layers_with_bad_ones_and_noise():
    readouts = simulate(2000, seed=1, kind=ASTEP, chips=12)
    places = {(hit.layer, hit.chip_id) for readout in readouts for hit in readout.decode()}
    assert places == {(layer, chip) for layer in (1, 2, 3) for chip in range(4)}
    bad = sum(len(readout.bad_frames()) for readout in readouts)
    assert 0.005 < bad / sum(len(readout.hits()) for readout in readouts) < 0.02
    assert sum(readout.noise_bytes() for readout in readouts) > 0
    times = [hit.fpga_timestamp for readout in readouts[:100] for hit in readout.hits()]
    assert sum(later >= earlier for earlier, later in pairwise(times)) > 0.9 * len(times)


def test_frames_with_other_settings():
    kind = ASTEP.configured(timestamp_bytes=8, tick_ns=10)
    readouts = simulate(10, seed=1, hits=5, kind=kind)
    assert all(len(hit.attribute_values()) == 14 for readout in readouts for hit in readout.decode())
    assert sum(len(readout.hits()) for readout in readouts) > 20


def test_several_chips():
    readouts = simulate(300, seed=1, chip=2, chips=3)
    assert {hit.chip_id for readout in readouts for hit in readout.decode()} == {2, 3, 4}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kind": kind_of(5000)}, "kind 5000 with these settings cannot be simulated; there are A"),
        ({"kind": ASTEP.configured(hit_size=8)}, "cannot be simulated"),
        ({"chips": 32}, "AstroPix 4 has chips 0 to 30, not 31"),
        ({"kind": ASTEP, "chips": 97}, "A-STEP has chips 0 to 95, not 96"),
    ],
)
def test_what_cannot_be_simulated(options, told):
    with pytest.raises(ConfigError, match=told):
        Detector(**options)
