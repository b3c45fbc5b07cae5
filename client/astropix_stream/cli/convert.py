"""``apx convert``: the hits of an .apx file as a table for other programs."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from astropix_stream import numbers
from astropix_stream.cli.files.reading import Reading
from astropix_stream.cli.files.tables import Table, open_table
from astropix_stream.cli.terminal import ending, options, progress
from astropix_stream.errors import ConfigError
from astropix_stream.replacing import replacement

EXAMPLES = (
    "Examples:\n\n"
    "apx convert run.apx hits.csv\n\n"
    "apx convert run.apx hits.parquet  (needs pip install 'astropix-stream[convert]', as .npz)\n\n"
    "A row is a hit; the columns are in the order of the documentation, from chip_id to tot_us."
)


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE.apx", help="What to convert.", show_default=False)],
    table: Annotated[
        Path, typer.Argument(metavar="HITS", help="Where to: .csv, .parquet or .npz.", show_default=False)
    ],
    *,
    keep_duplicates: options.KeepDuplicates = False,
    kind: options.KindOption = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Convert the hits of an .apx file to CSV, Parquet or NumPy's .npz.

    Hits that were split between two readouts are put together. Those of duplicates, the same readout once
    more, are left out. A damaged file is converted up to the damage; the exit code then is 2.
    """
    if table.exists() and not force:
        raise ConfigError(f"{table} exists: choose another name, or overwrite it with --force")
    converted = Converted(str(table))
    with Reading(file) as reading:
        readout_class = reading.readout_class(kind)
        with replacement(table) as path, open_table(path, table.suffix, readout_class) as rows:
            converted.convert(reading, rows, keep_duplicates=keep_duplicates)
        trouble = reading.trouble
    print(json.dumps(asdict(converted)) if as_json else converted)
    if trouble:
        raise ending.Problem(trouble, ending.WRONG_INPUT)


@dataclass(slots=True)
class Converted:
    """What was written; of `readouts` in the file, `duplicates_left_out` were duplicates."""

    file: str
    readouts: int = 0
    hits: int = 0
    duplicates_left_out: int = 0

    def convert(self, reading: Reading, rows: Table, *, keep_duplicates: bool) -> None:
        """Write the hits of a file to a table."""
        with progress.open_display() as display:
            for stored in reading.batches():
                batch = stored if keep_duplicates else stored.without_duplicates()
                self.readouts += len(stored)
                self.duplicates_left_out += len(stored) - len(batch)
                self.hits += rows.write(batch) if len(batch) else 0
                if display.due(time.monotonic()):
                    display.show(time.monotonic(), self.readouts, f"{self.hits} hits")

    def __str__(self) -> str:
        left_out = ""
        if self.duplicates_left_out:
            duplicates = numbers.counted(self.duplicates_left_out, "duplicate")
            left_out = f"; {duplicates} left out (--keep-duplicates keeps them)"
        return (
            f"{numbers.counted(self.hits, 'hit')} of {numbers.counted(self.readouts, 'readout')} "
            f"written to {self.file}{left_out}"
        )
