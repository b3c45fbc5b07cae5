"""``apx convert``: the hits of an .apx file as a table for other programs."""

import json
import time
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from astropix_stream import numbers
from astropix_stream.cli.files.reading import Reading
from astropix_stream.cli.files.tables import open_table
from astropix_stream.cli.terminal import ending, options, progress
from astropix_stream.errors import ConfigError

EXAMPLES = (
    "Examples:\n\n"
    "apx convert run.apx hits.csv\n\n"
    "apx convert run.apx hits.parquet  (needs pip install 'astropix-stream[convert]', as .npz)\n\n"
    "A row is a hit; the columns are in the order of the documentation, from chip_id to tot_us."
)

_AT_ONCE = 4096  # readouts


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE.apx", help="What to convert.", show_default=False)],
    table: Annotated[
        Path, typer.Argument(metavar="HITS", help="Where to: .csv, .parquet or .npz.", show_default=False)
    ],
    *,
    force: options.Force = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Convert the hits of an .apx file to CSV, Parquet or NumPy's .npz.

    Hits that were split between two readouts are put together. A damaged file is converted up to the damage;
    the exit code then is 2.
    """
    if table.exists() and not force:
        raise ConfigError(f"{table} exists: choose another name, or overwrite it with --force")
    unfinished = table.with_name(f"{table.name}.new")
    try:
        readouts, hits, trouble = _convert(file, unfinished, table.suffix)
        unfinished.replace(table)
    finally:
        unfinished.unlink(missing_ok=True)
    if as_json:
        print(json.dumps({"file": str(table), "readouts": readouts, "hits": hits}))
    else:
        print(f"{numbers.counted(hits, 'hit')} of {numbers.counted(readouts, 'readout')} written to {table}")
    if trouble:
        raise ending.Problem(trouble, ending.WRONG_INPUT)


def _convert(file: Path, table: Path, kind: str) -> tuple[int, int, str]:
    """Return how many readouts and hits were written, and what is wrong with the file."""
    readouts = hits = 0
    with Reading(file) as reading, open_table(table, kind) as rows, progress.open_display() as display:
        whole = reading.readouts()
        while chunk := list(islice(whole, _AT_ONCE)):
            readouts += len(chunk)
            hits += rows.write(chunk)
            if display.due(time.monotonic()):
                display.show(time.monotonic(), readouts, f"{hits} hits")
    return readouts, hits, reading.trouble
