"""``apx info``: what is in .apx files."""

import json
import shutil
import sys
from collections.abc import Sequence

from astropix_stream import fitting, numbers
from astropix_stream.cli.files.contents import Contents, examine
from astropix_stream.cli.terminal import ending, options
from astropix_stream.errors import FormatError

EXAMPLES = "Examples:\n\napx info run.apx\n\napx info *.apx\n\napx info run.apx --json"

_PIPE_WIDTH = 240  # a table that is read by a program is not to be folded
_MAX_HEADER = 160  # characters of a header's value
_LABEL = 14  # characters before a value


def command(
    files: options.Files,
    *,
    kind: options.KindOption = None,
    keep_duplicates: options.KeepDuplicates = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Summarize files of readouts: readouts, hits, times, runs, gaps, header; several files as a table.

    Hits of duplicates (the same readout, recorded again) are left out. The exit code is 2 if a file is
    damaged, truncated or not a file of readouts; what is intact in it is counted.
    """
    contents, troubles = [], []
    for path in files:
        try:
            contents.append(examine(path, kind, keep_duplicates=keep_duplicates))
            troubles.append(contents[-1].trouble)
        except FormatError as error:
            troubles.append(str(error))
        except OSError as error:
            troubles.append(ending.explain_os_error(error))
    if as_json:
        for content in contents:
            print(json.dumps(content.to_json()))
    elif len(files) == 1:
        for content in contents:
            _print_one(content, keep_duplicates=keep_duplicates)
    elif contents:
        _print_table(contents)
    for trouble in filter(None, troubles):
        print(f"apx: {trouble}", file=sys.stderr)
    if any(troubles):
        ending.finish_with(ending.WRONG_INPUT)


def _print_one(content: Contents, *, keep_duplicates: bool) -> None:
    duplicates = numbers.counted(content.duplicates, "duplicate")
    hits = f"{content.hits}, {numbers.rate(content.hit_rate)}"
    if content.kind is None:
        hits = f"not decoded: the readouts are {fitting.describe(content.header.readout_uid)}"
    elif content.duplicates:
        hits += (
            f", with those of {duplicates}" if keep_duplicates else f"; those of {duplicates} are left out"
        )
    size = numbers.size(content.size_bytes)
    room = _room() - len(f", {size}")
    lines = {
        "file": f"{numbers.shortened(str(content.path), max(room, _LEAST_NAME))}, {size}",
        "kind": fitting.describe(content.header.readout_uid) if content.kind is None else str(content.kind),
        "readouts": f"{content.readouts}, {numbers.rate(content.rate)}",
        "hits": hits,
        **_times(content),
        "runs": f"{content.runs}, beginning with readout {content.first_id}",
        "missing": _missing(content),
    }
    if content.readouts and not content.newest_ns:
        lines["readouts"] = f"{content.readouts}"
        lines["hits"] = hits.partition(",")[0] if content.kind and not content.duplicates else hits
    if not content.readouts:
        lines = {"file": lines["file"], "kind": lines["kind"], "readouts": "0"}
    if content.kind and content.decoding:
        names = dict(content.kind.problems)
        lines["decoding"] = ", ".join(
            f"{names.get(bit, bit.name)} in {numbers.counted(count, 'readout')}"
            for bit, count in content.decoding.items()
        )
    for name, value in lines.items():
        print(f"{name:{_LABEL - 1}} {value}")
    for at, header in [(0, content.header), *content.further_headers]:
        for name, value in header.items():
            place = f"at byte {at}: " if at else ""
            print(f"header        {place}{name}: {_shorten(json.dumps(value))}")


def _room() -> int:
    """Return how many characters there are for a value: any number where no terminal shows it."""
    return (shutil.get_terminal_size().columns if sys.stdout.isatty() else _PIPE_WIDTH) - _LABEL


def _missing(content: Contents) -> str:
    """Say what is missing, and what else is odd."""
    odd = {
        numbers.counted(content.duplicates, "duplicate"): content.duplicates,
        f"{content.reordered} out of order": content.reordered,
    }
    oddities = ", ".join(text for text, count in odd.items() if count)
    return "; ".join(filter(None, (str(content.missing or "nothing"), oddities)))


def _times(content: Contents) -> dict[str, str]:
    if not content.newest_ns:
        return {"from": "not known: all timestamps are 0"}
    untimed = ""
    if content.untimed:
        untimed = f" (the timestamp of {numbers.counted(content.untimed, 'readout')} is 0)"
    return {
        "from": numbers.moment(content.oldest_ns) + untimed,
        "to": f"{numbers.moment(content.newest_ns)}, {content.span_s:.1f} s later",
        "longest pause": f"{content.longest_pause_ns / 1e9:.3f} s",
    }


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_HEADER else f"{text[:_MAX_HEADER]}… (all of it with --json)"


_COLUMNS = ("from", "seconds", "readouts", "hits", "rate", "runs", "missing", "left over")
_BESIDE = 3  # spaces that the table puts beside a column
_LEAST_NAME = 12  # characters of a file's name that are shown however narrow the terminal is


def _print_table(contents: Sequence[Contents]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415  (only for several files)
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    rows = [_cells(content) for content in contents]
    shown = _fitting(rows, console.width)
    widths = [max(len(_COLUMNS[i]), *(len(row[i]) for row in rows)) + _BESIDE for i in shown]
    room = max(_LEAST_NAME, console.width - sum(widths) - _BESIDE - 1)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("file", no_wrap=True)
    for i in shown:
        table.add_column(_COLUMNS[i], justify="left" if i == 0 else "right", no_wrap=True)
    for content, row in zip(contents, rows, strict=True):
        name = numbers.shortened(str(content.path), room)
        table.add_row(*map(Text, [name, *(row[i] for i in shown)]))  # as text: no name is markup
    console.print(table)


def _cells(content: Contents) -> list[str]:
    return [
        numbers.moment(content.oldest_ns)[:19] if content.newest_ns else "",
        f"{content.span_s:.1f}",
        str(content.readouts),
        str(content.hits) if content.kind else "",
        numbers.rate(content.rate) if content.span_s else "",
        str(content.runs),
        str(content.missing),
        f"{content.leftover_bytes} bytes" if content.leftover_bytes else "",
    ]


def _fitting(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the columns that fit beside a short name: what matters least is left out first."""
    shown = list(range(len(_COLUMNS)))
    if not any(row[-1] for row in rows):
        shown.remove(len(_COLUMNS) - 1)
    for least in (1, 4, 0, 5):
        taken = sum(max(len(_COLUMNS[i]), *(len(row[i]) for row in rows)) + _BESIDE for i in shown)
        if taken + _LEAST_NAME + _BESIDE + 1 <= width:
            break
        shown.remove(least)
    return shown
