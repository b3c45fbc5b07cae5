"""Files a piece at a time: the same hits, duplicates, runs and losses as readout by readout."""

import random

import pytest

pytest.importorskip("numpy")

import numpy as np

from astropix_stream.batch import Batch
from astropix_stream.cli.files.sequence import Sequence
from astropix_stream.columns import columns, decode_columns
from astropix_stream.columns.files import ExchangedColumns, PieceDecoder, Pieces
from astropix_stream.columns.finding import find_whole
from astropix_stream.columns.tracking import Tracking
from astropix_stream.errors import FormatError
from astropix_stream.fileio import ApxReader, FileHeader, apx_open
from astropix_stream.fmt import ASTROPIX4, HEADER, MAGIC, AstroPix4Readout
from astropix_stream.wire import NO_SOURCE

HIT = bytes.fromhex("e0401eac0dccc200")


def disordered(seed):
    """Readouts of several runs with gaps, duplicates near and far, and some out of order."""
    chance = random.Random(seed)
    readouts, at = [], 10**18
    for _ in range(chance.randrange(1, 6)):
        run = []
        for i in range(chance.choice((3, 70, 400))):
            at += chance.randrange(0, 3) if seed % 2 else 1
            if chance.random() > 0.03:
                run.append(AstroPix4Readout(chance.choice((HIT, HIT[:5], HIT[5:])), i, at).to_bytes())
            if run and chance.random() < 0.03:
                run.append(chance.choice(run))
            if len(run) > 1 and chance.random() < 0.03:
                run[-2:] = run[:-3:-1]
        readouts += run
        at += 10**9
    return readouts


def batch_of(raws):
    ends, end = [], 0
    for raw in raws:
        end += len(raw)
        ends.append(end)
    heads = [HEADER.unpack_from(raw) for raw in raws]
    ids, times = [head[1] for head in heads], [head[2] for head in heads]
    return Batch(NO_SOURCE, times[0], b"".join(raws), ids, times, ends)


@pytest.mark.parametrize("seed", range(30))
def test_duplicates_runs_and_losses_are_those_found_one_by_one(seed):
    raws = disordered(seed)
    one_by_one, at_once = Sequence(), Tracking()
    for begin in range(0, len(raws), 300):
        batch = batch_of(raws[begin : begin + 300])
        one_by_one.note(batch)
        starts, duplicates = at_once.note(find_whole(batch.payload)[0])
        assert duplicates.tobytes() == (batch.duplicates or bytes(len(batch)))
        assert starts == [max(0, start.position - start.before) for start in batch.runs]
    assert at_once.totals() == one_by_one.totals()


def test_a_duplicate_is_forgotten_after_as_many_readouts_as_one_by_one():
    raws = [AstroPix4Readout(HIT, i, 10**18 + i).to_bytes() for i in range(8300)]
    for again in (raws[107], raws[108], raws[8299]):
        batch = batch_of([*raws, again])
        one_by_one = Sequence()
        one_by_one.note(batch)
        _, duplicates = Tracking().note(find_whole(batch.payload)[0])
        assert duplicates.tobytes() == (batch.duplicates or bytes(len(batch)))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.apx"
    with apx_open(path, "wb", FileHeader(AstroPix4Readout, {})) as writer:
        writer.write(b"".join(disordered(4)))
    return path


@pytest.mark.parametrize("size", [1, 50, 1000])
def test_pieces_of_any_size_give_the_same_hits(tmp_path, size):
    file = tmp_path / "run.apx"
    with apx_open(file, "wb", FileHeader(AstroPix4Readout, {})) as writer:
        for i in range(300):
            data = (b"\xbc" + HIT, b"\xbc" + HIT[:5], HIT[5:] + b"\xbc")[i % 3]
            writer.write(AstroPix4Readout(data, i + 7 * (i > 100), 10**18 + i).to_bytes())
    whole = columns(file)
    assert len(whole) == 199  # one was split over the gap
    decoder = PieceDecoder(ASTROPIX4)
    hits = []
    counts = 0
    with Pieces(file, size=size) as pieces:
        for piece in pieces:
            hits += decoder.decode(piece).hits.tolist()
    counter = PieceDecoder(ASTROPIX4)
    with Pieces(file, size=size) as pieces:
        counts = sum(int(counter.count(piece).hit_counts.sum()) for piece in pieces)
    assert hits == whole.tolist()
    assert counts == len(whole)


def test_columns_of_a_file_are_its_hits(tmp_path):
    readouts = [AstroPix4Readout(HIT, i, 10**18 + i) for i in range(20)]
    path = tmp_path / "run.apx"
    with apx_open(path, "wb", FileHeader(AstroPix4Readout, {})) as writer:
        for readout in readouts:
            writer.write(readout.to_bytes())
        writer.write(readouts[-1].to_bytes())
    assert columns(path).tolist() == decode_columns(readouts).tolist()
    assert len(columns(path, keep_duplicates=True)) == 21
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(columns(path))
    assert list(frame.columns) == list(ASTROPIX4.types)
    assert frame.readout_id.tolist() == list(range(20))


def test_damage_is_told_with_its_place(file):
    size = file.stat().st_size
    file.write_bytes(file.read_bytes() + b"x" * 50)
    with pytest.raises(FormatError, match=f"not a readout at byte {size}: "):
        columns(file)


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 1 << 21])
def test_pieces_have_the_readouts_that_one_by_one_are_found(tmp_path, size):
    raws = [AstroPix4Readout(HIT * (i % 3), i, i + 1).to_bytes() for i in range(40)]
    inner = AstroPix4Readout(b"\xbc" + raws[0] + b"\xfe", 40, 50).to_bytes()
    wrong = raws[5][:15] + (200).to_bytes(4, "little") + raws[5][19:]
    noise = [b"", b"x", b"\xfe\xdc", raws[3][:-2], raws[4][:10], wrong, inner, bytes(90)]
    header = FileHeader(AstroPix4Readout, {}).serialize()
    noise += [header, header[:9], FileHeader(3000, {}).serialize() + raws[0] + header]
    path = tmp_path / "run.apx"
    for foreign in noise:
        for at in (0, 7, 40):
            body = b"".join(raws[:at]) + foreign + b"".join(raws[at:])
            path.write_bytes(header + body)
            with ApxReader(path, tolerant=True) as reader:
                one_by_one = b"".join(raw for raw, _, _ in reader.datagrams())
                complaints, left = reader.complaints, reader.leftover_bytes
            with Pieces(path, size=size) as pieces:
                assert (
                    b"".join(piece.readouts.raw[: piece.readouts.begins[-1]] for piece in pieces)
                    == one_by_one
                )
                assert complaints in pieces.trouble
                assert (pieces.leftover_bytes, bool(pieces.damage)) == (left, bool(complaints))
            if at != 40:
                assert all(raw in one_by_one for raw in raws)


@pytest.mark.parametrize("cut", [1, 18, 19, 25])
def test_a_file_that_ends_in_a_readout(file, cut):
    whole = columns(file)
    readout = AstroPix4Readout(HIT + HIT, 5, 2 * 10**18).to_bytes()
    file.write_bytes(file.read_bytes() + readout[:cut])
    assert columns(file).tolist() == whole.tolist()
    with Pieces(file, size=64) as pieces:
        list(pieces)
        assert pieces.leftover_bytes == cut


def test_the_magic_in_the_data_of_a_readout_is_no_readout():
    inner = HEADER.pack(MAGIC, 7, 7, 2) + b"ab"
    raw = AstroPix4Readout(inner, 1, 1).to_bytes()
    found, damage = find_whole(raw * 2)
    assert (found.ids.tolist(), damage) == ([1, 1], None)


def test_columns_without_duplicates_or_with_them(tmp_path):
    raws = [AstroPix4Readout(HIT, i, i + 1).to_bytes() for i in range(100)]
    path = tmp_path / "run.apx"
    write(path, [*raws, raws[-1]])
    assert len(columns(path)) == 100
    assert len(columns(path, keep_duplicates=True)) == 101
    assert (columns(path, AstroPix4Readout) == columns(path, ASTROPIX4)).all()


def test_a_file_without_readouts_is_a_table_without_hits(tmp_path):
    path = tmp_path / "run.apx"
    write(path, [])
    empty = columns(path)
    assert len(empty) == 0
    assert "tot_us" in empty.dtype.names


def test_a_piece_says_how_many_readouts_it_has_and_the_file_what_was_counted(tmp_path):
    raws = [AstroPix4Readout(HIT, i, i + 1).to_bytes() for i in (0, 1, 1, 5)]
    path = tmp_path / "run.apx"
    write(path, raws)
    with Pieces(path) as pieces:
        assert [len(piece) for piece in pieces] == [4]
        assert pieces.trouble == ""
        totals = pieces.totals()
    assert (totals.received, totals.duplicates, totals.lost) == (4, 1, 3)


def test_broken_lines_of_a_log_are_told(tmp_path):
    path = tmp_path / "run.log"
    path.write_text("0\tb'bcbc'\nno readout\n1\tb'bcbc'\n")
    with Pieces(path) as pieces:
        assert sum(map(len, pieces)) == 2
    assert pieces.trouble.startswith(f"{path}: 1 skipped: line 2: neither a readout nor configuration")


def test_columns_of_a_table_are_of_the_types_that_are_exchanged():
    table = ExchangedColumns(ASTROPIX4, 3)
    assert {name: column.dtype for name, column in table.columns.items()} == {
        name: "u4" if name == "decoding_order" else type_ for name, type_ in ASTROPIX4.types.items()
    }
    table["decoding_order"] = np.array([0, 300, 2])
    kept = table[np.array([True, True, False])]
    assert (len(table), len(kept)) == (3, 2)
    assert list(kept["decoding_order"]) == [0, 300]


def write(path, raws):
    with apx_open(path, "wb", FileHeader(AstroPix4Readout, {})) as writer:
        for raw in raws:
            writer.write(raw)
