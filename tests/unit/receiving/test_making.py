"""Readouts of any class out of bytes: the shortest way that the class allows, and what is refused."""

from itertools import accumulate

import pytest

from astropix_stream.batch import Batch, Source
from astropix_stream.errors import FormatError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.receiving.making import MAX_SIZE, Maker

DAQ = Source("10.0.1.1", 40000)


def readout(readout_id, size=0):
    return AstroPix4Readout(b"\xbc" * size, readout_id, 1000 + readout_id)


def batch(*readouts):
    raw = [one.to_bytes() for one in readouts]
    ids, timestamps = [one.readout_id for one in readouts], [one.timestamp for one in readouts]
    return Batch(DAQ, 5, b"".join(raw), ids, timestamps, [*accumulate(map(len, raw))])


class Plain:
    @classmethod
    def from_bytes(cls, data):
        return data


class Careful(AstroPix4Readout):
    @classmethod
    def from_bytes(cls, data):
        made = super().from_bytes(data)
        if made.readout_id % 2:
            raise FormatError("an odd one")
        return made


class Changed(AstroPix4Readout):
    @classmethod
    def from_fields(cls, *fields):
        return super().from_fields(*fields)


def test_our_own_classes_are_made_of_fields_that_were_checked():
    maker = Maker(AstroPix4Readout)
    sent = [readout(7, 30), readout(8, 0)]
    assert [one.to_bytes() for one in maker.of_batch(batch(*sent))] == [one.to_bytes() for one in sent]
    assert maker.from_fields(b"\xbc", 7, 1007).to_bytes() == readout(7, 1).to_bytes()
    assert maker.from_payload == AstroPix4Readout.from_payload


@pytest.mark.parametrize("other", [Plain, Careful, Changed])
def test_a_class_with_a_way_of_its_own_is_asked(other):
    maker = Maker(other)
    assert maker.from_fields is None
    assert maker.from_payload is None
    (made,) = maker.of_batch(batch(readout(2)))
    assert made == readout(2).to_bytes() if other is Plain else type(made) is other


def test_what_a_class_refuses_is_counted_and_told_once(caplog):
    maker = Maker(Careful)
    assert [one.readout_id for one in maker.of_batch(batch(*map(readout, range(6))))] == [0, 2, 4]
    assert maker.refused == 3
    assert [record.message for record in caplog.records] == [
        f"{Careful!r} refused a readout, which is skipped (further ones are only counted): an odd one"
    ]


@pytest.mark.parametrize("readout_class", [AstroPix4Readout, Careful])
@pytest.mark.parametrize(("max_size", "taken"), [(MAX_SIZE, [0, 2]), (49, [0, 2]), (48, [2]), (0, [])])
def test_readouts_that_are_too_large_are_skipped_and_counted(readout_class, max_size, taken):
    maker = Maker(readout_class)
    made = maker.of_batch(batch(readout(0, 30), readout(2, 1)), max_size)
    assert [one.readout_id for one in made] == taken
    assert maker.refused == 2 - len(taken)


def test_datagrams_are_made_one_by_one():
    assert Maker(Plain).of_datagrams(iter([b"a", b"bc"])) == [b"a", b"bc"]


def test_a_class_without_from_bytes_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError, match="object'> is not a readout class: it has no from_bytes"):
        Maker(object)
