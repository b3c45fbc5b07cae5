"""Whether a class fits the readouts: by what is said of them, and by what decodes."""

from itertools import islice
from pathlib import Path

import pytest

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.fileio import apx_open
from astropix_stream.fitting import SAMPLE, Doubt, describe, misfit
from astropix_stream.fmt import ASTEP, ASTROPIX3, AstroPix4Readout, kind_of

SHARED = Path(__file__).parents[3] / "shared" / "data"


class Other:
    @staticmethod
    def uid():
        return 3000


class Bytes:
    """A class of readouts that does not care what they are."""


def test_names():
    assert [describe(uid) for uid in (4000, 3000, 3100, 77)] == [
        "AstroPix 4 (4000)",
        "AstroPix 3 (3000)",
        "A-STEP (3100)",
        "kind 77",
    ]


@pytest.mark.parametrize(
    ("readout_class", "uid"), [(AstroPix4Readout, 4000), (AstroPix4Readout, None), (Other, 3000), (Bytes, 77)]
)
def test_what_fits(readout_class, uid):
    assert misfit(readout_class, uid) == ""


@pytest.mark.parametrize(
    ("readout_class", "uid", "told"),
    [
        (AstroPix4Readout, 3000, "AstroPix 3 (3000), and AstroPix4Readout decodes AstroPix 4 (4000)"),
        (AstroPix4Readout, 0, "kind 0, and AstroPix4Readout decodes AstroPix 4 (4000)"),
        (Other, 4000, "AstroPix 4 (4000), and Other decodes AstroPix 3 (3000)"),
    ],
)
def test_what_does_not_fit_names_both_kinds(readout_class, uid, told):
    assert misfit(readout_class, uid) == f"the readouts are {told}"


def noted(data):
    doubt = Doubt()
    return [doubt.note(AstroPix4Readout(piece, i, 0)) for i, piece in enumerate(data)], doubt


def test_real_hits_are_not_doubted():
    detector = Detector(seed=1)
    told, doubt = noted(detector.readout(i, 0).data() for i in range(3 * SAMPLE))
    assert not any(told)
    assert (doubt.text, doubt.open) == ("", False)


def test_bytes_without_hits_are_doubted_once_after_a_hundred():
    told, doubt = noted([b"\xbc\x20\x01\x02\x03\x04\xbc"] * 3 * SAMPLE)
    assert [i for i, now in enumerate(told) if now] == [SAMPLE - 1]
    assert doubt.text.startswith(
        "100 % of the bytes of the first 100 readouts belong to no hit of AstroPix 4"
    )


@pytest.mark.parametrize("kind", [ASTROPIX3, ASTEP])
def test_readouts_of_each_kind_are_not_doubted_and_others_are(kind):
    readouts = [readout for _, readout in islice(Detector(seed=1, kind=kind).readouts(), 3 * SAMPLE)]
    doubt = Doubt()
    assert not any(map(doubt.note, readouts))
    assert not doubt.open
    doubt = Doubt()
    others = [AstroPix4Readout(readout.data(), 0, 0) for readout in readouts]
    assert sum(map(doubt.note, others)) == 1


def test_an_unknown_kind_is_not_doubted():
    doubt = Doubt()
    assert not any(doubt.note(kind_of(77).readout_class(b"abc", i, 0)) for i in range(2 * SAMPLE))


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="there is no ../shared/data")
@pytest.mark.parametrize(
    ("name", "doubted"), [("run_20250723.apx", False), ("run_20250729_astropix3.apx", True)]
)
def test_real_runs(name, doubted):
    with apx_open(SHARED / name) as run:
        datagrams = [raw for raw, _, _ in run.datagrams()]
    _, doubt = noted(AstroPix4Readout.from_bytes(raw).data() for raw in datagrams[:SAMPLE])
    assert bool(doubt.text) is doubted


def test_idle_readouts_say_nothing():
    told, doubt = noted([b"\xbc" * 100] * 300 + [b"\x01"] * (SAMPLE - 1))
    assert not any(told)
    assert doubt.open
