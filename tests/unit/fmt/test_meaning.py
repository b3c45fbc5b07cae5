"""Spans of bytes, as they are put together."""

from astropix_stream.fmt.meaning import Division, Meaning, Span


def test_spans_follow_one_another_and_equal_neighbours_become_one():
    division = Division()
    division.cover(0, Meaning.IDLE)
    division.cover(2, Meaning.IDLE)
    division.cover(3, Meaning.IDLE)
    division.cover_hit(6, 0)
    division.cover_hit(9, 1)
    division.cover(8, Meaning.EXTRA)
    assert division.at == 9
    assert division.spans == [
        Span(0, 3, Meaning.IDLE),
        Span(3, 4, Meaning.START, 0),
        Span(4, 6, Meaning.HIT, 0),
        Span(6, 7, Meaning.START, 1),
        Span(7, 9, Meaning.HIT, 1),
    ]


def test_idle_bytes_among_dropped_ones_are_idle():
    division = Division()
    division.drop(bytes.fromhex("00 bc ff 01 02"), 4)
    assert [tuple(span) for span in division.spans] == [
        (0, 1, "dropped", None),
        (1, 3, "idle", None),
        (3, 4, "dropped", None),
    ]
