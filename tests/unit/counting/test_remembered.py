"""A readout that comes again is known among the last 8192, however they came and whatever they cost."""

from itertools import accumulate

import pytest

from astropix_stream.batch import Batch, Source
from astropix_stream.counting.remembered import KEPT, Remembered, digest
from astropix_stream.fmt import HEADER, MAGIC

DAQ = Source("10.0.0.1", 40000)


def batch(*readout_ids, size=1, data=b"\xbc"):
    raw = [HEADER.pack(MAGIC, i, 1000 + i, size) + data * size for i in readout_ids]
    stamps = [1000 + i for i in readout_ids]
    return Batch(DAQ, 0, b"".join(raw), list(readout_ids), stamps, [*accumulate(map(len, raw))])


def remembered(count, *, of=1, size=1):
    """Remember `count` readouts that came `of` at a time."""
    found = Remembered()
    for begin in range(0, count, of):
        ids = range(begin, min(count, begin + of))
        found.add((batch(*ids, size=size),), len(ids))
    return found


@pytest.mark.parametrize("of", [1, 7, 50, 4096])
@pytest.mark.parametrize("size", [1, 100, 2000])
def test_the_last_8192_are_known(of, size):
    found = remembered(KEPT + 1000, of=of, size=size)
    for i in (KEPT + 999, KEPT, 1000, 1001):
        assert found.age(batch(i, size=size), 0) == KEPT + 1000 - i
    assert found.age(batch(KEPT + 1000, size=size), 0) == 0


def test_what_is_older_is_forgotten():
    found = remembered(3 * KEPT, of=50)
    assert found.age(batch(0), 0) == 0
    assert found.age(batch(2 * KEPT - 100), 0) == 0


def test_the_same_id_with_another_time_or_other_data_is_another_readout():
    found = remembered(10)
    assert found.age(batch(5), 0) == 5
    assert found.age(batch(5, data=b"\xbd"), 0) == 0
    other = batch(5)
    other.payload = other.payload.replace((1005).to_bytes(8, "little"), (1006).to_bytes(8, "little"))
    assert found.age(other, 0) == 0


def test_the_latest_of_several_is_found():
    found = remembered(10)
    found.add((batch(5),), 1)
    assert found.age(batch(5), 0) == 1


def test_a_change_in_the_middle_of_a_large_readout_is_seen():
    raw = bytearray(batch(1, size=60_000).payload)
    raw[30_000] ^= 1
    changed = batch(1, size=60_000)
    changed.payload = bytes(raw)
    assert digest(changed, 0) != digest(batch(1, size=60_000), 0)


def test_without_bytes_id_and_timestamp_tell():
    found = Remembered()
    found.add((Batch(DAQ, 0, b"", [1, 2], [7, 8], range(2)),), 2)
    assert found.age(Batch(DAQ, 0, b"", [1], [7], range(1)), 0) == 2
    assert found.age(Batch(DAQ, 0, b"", [1], [8], range(1)), 0) == 0


@pytest.mark.parametrize(("of", "size"), [(1, 35), (1, 60_000), (50, 35), (50, 1000)])
def test_memory_is_bounded(of, size):
    """Batches as they came, and digests: 64 KiB, and what many small readouts in one batch take."""
    found = Remembered()
    for begin in range(0, 3000 if size > 10_000 else 40_000, of):
        found.add((batch(*range(begin, begin + of), size=size),), of)
        assert sum(len(one.payload) for one in found._fresh) <= (1 << 17) + 72 * 2 * KEPT
        assert len(found._digests) <= 8 * KEPT
