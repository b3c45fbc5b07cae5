"""Small HTML tables for notebooks. Whatever is put in is escaped: names and data come from outside."""

from collections.abc import Iterable, Sequence


def table(caption: object, head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a table with a caption, a row of headings if there are rows, and a row for each of `rows`."""
    body = [_row("td", row) for row in rows]
    lines = [_row("th", head), *body] if body else []
    return f"<table><caption>{_escaped(caption)}</caption>{''.join(lines)}</table>"


def paragraph(text: object) -> str:
    """Return a paragraph."""
    return f"<p>{_escaped(text)}</p>"


def _row(tag: str, cells: Sequence[object]) -> str:
    return "<tr>" + "".join(f"<{tag}>{_escaped(cell)}</{tag}>" for cell in cells) + "</tr>"


def _escaped(text: object) -> str:
    from html import escape  # noqa: PLC0415  (brings all of HTML's entities, 0.3 MiB that a relay does not need)

    return escape(str(text))
