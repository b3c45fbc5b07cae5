"""A readout with what each of its bytes is: as text, as rows for a terminal, as a record. Pure."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from astropix_stream import numbers
from astropix_stream.cli.files.card import Card
from astropix_stream.fmt import Meaning

_PER_LINE = 16  # bytes of a line of text
_FEW = 8  # equal bytes that are written out

#: In the order in which a terminal explains its colours.
STYLES = {
    Meaning.START: "bold black on green",
    Meaning.HIT: "green",
    Meaning.IDLE: "dim",
    Meaning.ORPHAN: "yellow",
    Meaning.EXTRA: "magenta",
    Meaning.DROPPED: "red",
    Meaning.UNDECODED: "default",
}
#: Of every second hit, so that two in a row are told apart.
OTHER_STYLES = {Meaning.START: "bold black on cyan", Meaning.HIT: "cyan"}


class Piece(NamedTuple):
    """Text of one style."""

    text: str
    style: str = ""


def heading(card: Card) -> str:
    """Return the line above a readout."""
    readout = card.readout
    parts = [f"[{card.place}] readout {readout.readout_id}"]
    parts += [numbers.moment(readout.timestamp)] if readout.timestamp else ["no timestamp"]
    if card.after_ns is not None:
        parts.append(f"{abs(card.after_ns) / 1e6:.3f} ms {'later' if card.after_ns >= 0 else 'earlier'}")
    parts.append(numbers.counted(len(card.data), "byte"))
    if card.begins_run:
        parts.append("begins a run")
    if card.duplicate:
        parts.append("a duplicate")
    if card.missing:
        parts.append(f"{numbers.counted(card.missing, 'readout')} missing before it")
    return ", ".join(parts)


def lines(card: Card) -> Iterator[str]:
    """Iterate over the lines of plain text."""
    yield heading(card)
    for begin, end, what in _named(card):
        for at in range(begin, end, _PER_LINE):
            data = card.data[at : min(at + _PER_LINE, end)]
            if end - begin > _FEW and len(set(card.data[begin:end])) == 1:
                yield f"{begin:6}  {what:<10} {end - begin} × {data[:1].hex()}"
                break
            yield f"{at:6}  {what if at == begin else '':<10} {data.hex(' ')}"
    yield from (f"  {text}" for text in card.readout.hits_as_text(clean=False))


def _named(card: Card) -> Iterator[tuple[int, int, str]]:
    """Iterate over begin, end and name of the pieces; the start byte of a hit is part of it."""
    begun: int | None = None
    for at, (begin, end, meaning, hit) in enumerate(card.spans):
        if meaning is Meaning.START:
            following = card.spans[at + 1 : at + 2]
            if following and following[0].meaning is Meaning.HIT:
                begun = begin
                continue
        what = f"hit {hit}" if meaning in (Meaning.START, Meaning.HIT) else str(meaning)
        if meaning is Meaning.ORPHAN and hit is not None:
            what = f"hit {hit}, rest"
        yield begin if begun is None else begun, end, what
        begun = None


def record(card: Card) -> dict[str, Any]:
    """Return it for programs."""
    readout = card.readout
    names = readout.HIT_CLASS.ATTRIBUTE_NAMES
    return {
        "index": card.place,
        "readout_id": readout.readout_id,
        "timestamp": readout.timestamp,
        "begins_run": card.begins_run,
        "duplicate": card.duplicate,
        "missing_before": card.missing,
        "data": card.data.hex(),
        "spans": [span._asdict() for span in card.spans],
        "hits": [dict(zip(names, hit.attribute_values(), strict=True)) for hit in readout.hits()],
        "decoding": [bit for bit in str(readout.decoding_status()).split(", ") if bit != "clean"],
    }


def rows(card: Card, width: int) -> list[list[Piece]]:
    """Return the bytes in colours, and the hits below them, a list of pieces for each row of a terminal."""
    per_row = max(8, min(32, (width - 8) // 3 // 8 * 8))
    found: list[list[Piece]] = []
    styles = [""] * len(card.data)
    for begin, end, meaning, hit in card.spans:
        style = OTHER_STYLES.get(meaning, STYLES[meaning]) if hit is not None and hit % 2 else STYLES[meaning]
        styles[begin:end] = [style] * (end - begin)
    for begin in range(0, len(card.data), per_row):
        row = [Piece(f"{begin:6} ", "dim")]
        for byte, style in zip(card.data[begin : begin + per_row], styles[begin:], strict=False):
            row += [Piece(" "), Piece(f"{byte:02x}", style)]
        found.append(row)
    found.append([])
    hits = len(card.readout.hits())
    for order, text in enumerate(card.readout.hits_as_text(clean=False)):
        style = ("cyan" if order % 2 else "green") if order < hits else "yellow"
        found.append([Piece(f"  {text}", style)])
    if not hits and len(found[-1]) == 0:
        found.append([Piece("  no hits", "dim")])
    return found


def legend() -> list[Piece]:
    """Return what the colours mean."""
    shown = [meaning for meaning in STYLES if meaning is not Meaning.UNDECODED]
    return [piece for meaning in shown for piece in (Piece(str(meaning), STYLES[meaning]), Piece("  "))]
