"""The readouts of a file, forward and back: what is shown of one does not depend on the way to it."""

import random
from io import BytesIO

import pytest

from astropix_stream.cli.files.deck import Deck
from astropix_stream.errors import FormatError
from astropix_stream.fileio import FileHeader
from astropix_stream.fmt import ASTEP, ASTROPIX3, AStepReadout, AstroPix3Readout, kind_of

HALVES = bytes.fromhex("2010ca0028 bcbc 20b1ca00d3")


def write(path, readouts, uid=3000):
    file = BytesIO()
    for readout in readouts:
        readout.write(file)
    path.write_bytes(FileHeader(uid, {}).serialize() + file.getvalue())
    return path


def split_readouts(count):
    """Readouts of which many leave the beginning of a half hit to the next."""
    stream = HALVES * count
    cuts = sorted(random.Random(7).sample(range(1, len(stream)), count - 1))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    return [AstroPix3Readout(piece, i, 1000 + i) for i, piece in enumerate(pieces)]


def shown(card):
    return card.spans, card.readout.hits(), card.begins_run, card.duplicate, card.missing, card.after_ns


def test_a_readout_is_shown_alike_whatever_was_shown_before(tmp_path):
    path = write(tmp_path / "run.apx", split_readouts(300))
    with Deck(path) as deck:
        assert deck.kind is ASTROPIX3
        assert deck.last() == 299
        forward = [shown(deck.card(i)) for i in range(300)]
        order = list(range(300))
        random.Random(3).shuffle(order)
        assert {i: shown(deck.card(i)) for i in order} == dict(enumerate(forward))
    assert sum(len(hits) for _, hits, *_ in forward) > 450  # some are in three pieces
    assert any(span.hit == 0 and span.meaning == "orphan" for spans, *_ in forward for span in spans)


def test_what_is_told_of_a_readout_beside_its_bytes(tmp_path):
    ids = [0, 1, 1, 4, 5]
    readouts = [AstroPix3Readout(b"\xbc" + bytes([i]), i, 1_000_000 * (i + 1)) for i in ids]
    with Deck(write(tmp_path / "run.apx", readouts)) as deck:
        assert deck.reach(4)
        assert not deck.reach(5)
        assert deck.complete
        cards = [deck.card(i) for i in range(5)]
    assert [card.begins_run for card in cards] == [True, False, False, False, False]
    assert [card.duplicate for card in cards] == [False, False, True, False, False]
    assert [card.missing for card in cards] == [0, 0, 0, 2, 0]
    assert [card.after_ns for card in cards] == [None, 1_000_000, 0, 3_000_000, 1_000_000]
    assert [card.data for card in cards][:2] == [b"\xbc\x00", b"\xbc\x01"]


def test_an_id_is_searched_forward_and_then_from_the_beginning(tmp_path):
    path = write(tmp_path / "run.apx", [AstroPix3Readout(b"\xbc", i % 5000, 5 + i) for i in range(9000)])
    with Deck(path) as deck:
        assert deck.reach(0)
        assert deck.find(4500, 0) == 4500
        assert deck.find(100, 200) == 5100
        assert deck.find(100, 5100) == 100
        assert deck.find(3999, 3999) == 8999
        assert deck.find(6000, 10) is None
        assert deck.ids() == (0, 4999)


def test_the_next_error_is_found(tmp_path):
    readouts = [AstroPix3Readout(HALVES if i != 7 else b"\x01\x02", i, 5 + i) for i in range(10)]
    with Deck(write(tmp_path / "run.apx", readouts)) as deck:
        assert deck.next_error(0) == 7
        assert deck.next_error(7) is None


def test_an_unknown_kind_is_bytes(tmp_path):
    path = write(tmp_path / "run.apx", [AStepReadout(b"\x01\xff", 0, 1)], uid=99)
    with Deck(path) as deck:
        assert not deck.kind.known
        assert deck.reach(0)
        assert [tuple(span) for span in deck.card(0).spans] == [(0, 2, "undecoded", None)]
        assert deck.card(0).readout.data() == b"\x01\xff"
    with Deck(path, ASTEP) as deck:
        assert deck.kind is ASTEP
    assert kind_of(99).name == "kind 99"


def test_a_damaged_file_is_shown_up_to_the_damage(tmp_path):
    path = write(tmp_path / "run.apx", [AstroPix3Readout(HALVES, i, 5 + i) for i in range(3)])
    path.write_bytes(path.read_bytes()[:-4])
    with Deck(path) as deck:
        assert deck.last() == 1
        assert "truncated" in deck.trouble
    with pytest.raises(FormatError, match="is a directory"):
        Deck(tmp_path)
