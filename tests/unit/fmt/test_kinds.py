"""The registry of kinds: what is there, a kind of one's own, clashes, names, and kinds nobody knows."""

from typing import Any

import pytest

from astropix_stream.errors import ConfigError, FormatError
from astropix_stream.fmt import (
    ASTEP,
    ASTROPIX3,
    ASTROPIX4,
    AstroPix3Readout,
    AstroPix4Readout,
    Hit,
    Kind,
    Readout,
    UnknownReadout,
    Walk,
    WalkedReadout,
    find_kind,
    kind_of,
    kind_of_class,
    kinds,
    register,
    uid_to_readout_class,
    unregister,
)


class MyHit(Hit):
    """Two bytes; the second is the column."""

    SIZE = 2
    TYPES = Hit.TYPES | {"chip_id": "u1", "column": "u1"}
    ATTRIBUTE_NAMES = tuple(TYPES)
    chip_id = 0

    @property
    def column(self):
        """The column."""
        return self.bits & 0xFF


class MyReadout(WalkedReadout):
    UID = 77_000
    HIT_CLASS = MyHit
    WALK = Walk(2, b"H")


TEXT: Any = "4000"
MINE = Kind(uid=77_000, name="My Chip", readout_class=MyReadout, rows=4, columns=8)


@pytest.fixture
def mine():
    yield register(MINE)
    unregister(MINE.uid)


def test_what_there_is():
    assert kinds() == (ASTROPIX3, ASTEP, ASTROPIX4)
    assert [kind.uid for kind in kinds()] == [3000, 3100, 4000]
    assert [str(kind) for kind in kinds()] == ["AstroPix 3 (3000)", "A-STEP (3100)", "AstroPix 4 (4000)"]
    for kind in kinds():
        assert kind_of(kind.uid) is kind
        assert uid_to_readout_class(kind.uid) is kind.readout_class
        assert kind_of_class(kind.readout_class) == kind
        assert tuple(kind.types) == kind.hit_class.ATTRIBUTE_NAMES


def test_a_kind_of_ones_own(mine):
    assert kind_of(77_000) is mine
    assert mine in kinds()
    assert find_kind("mychip") is find_kind("77000") is mine
    (hit,) = uid_to_readout_class(77_000)(b"\xbcH\x20", 1, 2).decode()
    assert hit.column == 4
    assert register(mine) is mine  # a module that is imported again


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (MINE._replace(name="Astro-Pix 4"), r"the name 'Astro-Pix 4' is that of AstroPix 4 \(4000\)"),
        (MINE._replace(name="77"), "needs a letter"),
        (MINE._replace(name="-"), "needs a letter"),
        (MINE._replace(uid=-1), "-1 is not a uid"),
        (MINE._replace(uid=TEXT), "'4000' is not a uid"),
        (MINE._replace(uid=True), "True is not a uid"),
        (MINE._replace(uid=1 << 32), "is not a uid"),
        (MINE._replace(uid=77), r"My Chip \(77\) has a readout class with another uid: MyReadout \(77000\)"),
        (Kind(4000, "Mine", AstroPix4Readout), "the uid 4000 is that of AstroPix 4; Mine needs another"),
        (MyReadout, r"register\(\) takes a Kind"),
    ],
)
def test_clashes_are_refused(kind, told):
    before = kinds()
    with pytest.raises(ConfigError, match=told):
        register(kind)
    assert kinds() == before


def test_a_kind_that_is_registered_is_not_changed_by_another(mine):
    with pytest.raises(ConfigError, match="the uid 77000 is that of My Chip"):
        register(mine._replace(rows=5))
    assert kind_of(77_000).rows == 4


def test_an_unknown_kind_is_bytes():
    kind = kind_of(5000)
    assert not kind.known
    assert kind.name == str(kind) == "kind 5000"
    assert kind_of(5000) is kind
    assert issubclass(kind.readout_class, UnknownReadout)
    readout = kind.readout_class(b"\xe0\xff", 1, 2)
    assert (readout.uid(), readout.data(), readout.decode(), readout.extra_bytes()) == (
        5000,
        b"\xe0\xff",
        [],
        None,
    )
    assert not readout.decoding_status()
    assert readout.pretty_print().splitlines() == [
        "readout 1 at 2 ns, 2 bytes: e0ff",
        "  not decoded: the uid 5000 is unknown",
    ]
    assert kind.readout_class.from_bytes(readout.to_bytes()) == readout
    with pytest.raises(FormatError, match="no class of readouts has the uid 5000; there is 3000"):
        uid_to_readout_class(5000)


def test_readouts_of_two_kinds_are_not_equal():
    assert AstroPix3Readout(b"", 1, 2) != AstroPix4Readout(b"", 1, 2)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("astropix3", ASTROPIX3), ("AstroPix 3", ASTROPIX3), ("3000", ASTROPIX3), ("astropix-4", ASTROPIX4),
        ("A-STEP", ASTEP), ("astep", ASTEP), ("3100", ASTEP), ("5000", kind_of(5000)),
        ("astep:hit_size=5", ASTEP),
    ],
)  # fmt: skip
def test_kinds_by_name(text, kind):
    assert find_kind(text) == kind


def test_kinds_with_settings():
    assert find_kind("astropix3:tot_window=10-40").pixel_rule.tot_window == (10, 40)
    kind = find_kind("astep:timestamp_bytes=8, tick_ns=50,ts_window=0-2")
    readout_class: Any = kind.readout_class
    assert (readout_class.TIMESTAMP_BYTES, kind.pixel_rule.ts_window) == (8, (0, 2))
    assert kind_of_class(kind.readout_class).readout_class is kind.readout_class


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("astropix", "'astropix' is not a kind of readouts; did you mean astropix"),
        (
            "x",
            r"'x' is not a kind of readouts; there are astropix3 \(3000\), astep",
        ),
        ("", "is not a kind of readouts"),
        ("²", "is not a kind of readouts"),
        ("99999999999", "is not a kind of readouts"),
        ("astep:x", "write settings as name=value"),
        ("astep:x=", "write settings as name=value"),
        ("astep:x=1", "A-STEP has no setting 'x'"),
        ("astropix4:x=1", "AstroPix 4 has no setting 'x'"),
        ("astropix4:tot_window=1-2", "no setting 'tot_window': a hit is a pixel"),
    ],
)
def test_what_is_no_kind(text, told):
    with pytest.raises(ConfigError, match=told):
        find_kind(text)


def test_the_columns_of_pixels():
    assert list(ASTEP.pixel_types) == [
        "layer", "chip_id", "readout_id", "timestamp", "column", "row", "ts_column", "ts_row",
        "tot_column_us", "tot_row_us", "fpga_timestamp",
    ]  # fmt: skip
    assert list(ASTROPIX3.pixel_types) == list(ASTEP.pixel_types)[1:-1]
    assert ASTROPIX4.pixel_types == ASTROPIX4.types


def test_a_class_that_nobody_registered_is_a_kind_too():
    class Other(Readout):
        UID = 6

    kind = kind_of_class(Other)
    assert (kind.uid, kind.name, kind.readout_class) == (6, "Other", Other)

    class Derived(AstroPix4Readout):
        pass

    assert kind_of_class(Derived) == ASTROPIX4._replace(readout_class=Derived)
