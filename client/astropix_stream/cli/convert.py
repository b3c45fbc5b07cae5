"""``apx convert``: the hits of files as a table for other programs; files of other DAQs to .apx."""

import json
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from astropix_stream import __version__, numbers
from astropix_stream.cli.files.copying import copy_readouts
from astropix_stream.cli.files.hits import Hits, open_hits
from astropix_stream.cli.files.tables import TABLES, Table, table_class
from astropix_stream.cli.terminal import ending, options, progress
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import Kind
from astropix_stream.replacing import replacement

APX = ".apx"

EXAMPLES = (
    "Examples:\n\n"
    "apx convert run.apx hits.csv\n\n"
    "apx convert run1.apx run2.apx hits.parquet --columns readout_id,row,column,tot_us\n\n"
    "apx convert *.apx tables/ --format .hdf5  (a table for each file)\n\n"
    "apx convert run.log run.apx\n\n"
    "Each row is a hit; the columns are in the documented order, from chip_id to tot_us. All formats except "
    ".csv and .apx need pip install 'astropix-stream[convert]'."
)


def command(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Files to convert: .apx, .log or .bin.", show_default=False),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="TARGET",
            help=f"A table of hits ({', '.join(TABLES)}), an .apx file, or a directory with --format.",
            show_default=False,
        ),
    ],
    *,
    columns: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Write only these columns, separated by commas.")
    ] = None,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Match the half hits of AstroPix 3, and write pixels.")
    ] = False,
    format: Annotated[
        str | None,
        typer.Option(metavar="SUFFIX", help="With a directory: format of the file to write for each input."),
    ] = None,
    keep_duplicates: options.KeepDuplicates = False,
    kind: options.KindOption = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Convert the hits in files to a table for other programs, or files of other DAQs to .apx.

    Hits that were split between two readouts are joined. Hits of duplicates (the same readout, recorded
    again) are left out. Several files become one table or, if the target is a directory, one table each. What
    is damaged in a file is left out; the exit code is then 2.
    """
    job = Job(kind, _names(columns), pixels, keep_duplicates, force)
    troubles: list[str] = []
    for sources, path in _plan(files, target, format):
        if path.suffix == APX:
            converted, wrong = job.copy(sources, path)
        else:
            converted, wrong = job.tabulate(sources, path)
        troubles += wrong
        print(json.dumps(asdict(converted)) if as_json else converted)
    for trouble in troubles[:-1]:
        ending.log.warning("%s", trouble)
    if troubles:
        raise ending.Problem(troubles[-1], ending.WRONG_INPUT)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _plan(files: Sequence[Path], target: Path, suffix: str | None) -> list[tuple[list[Path], Path]]:
    """Return which files go into which."""
    if not target.is_dir():
        if suffix is not None:
            raise ConfigError(f"{target}: with --format, the target must be an existing directory")
        return [(list(files), target)]
    if suffix is None:
        known = ", ".join([*TABLES, APX])
        raise ConfigError(f"{target} is a directory: add --format to say what to write there ({known})")
    suffix = f".{suffix.removeprefix('.')}"
    plan = [([path], target / f"{path.stem}{suffix}") for path in files]
    if len({path for _, path in plan}) < len(plan):
        raise ConfigError(f"several files would become the same file in {target}; convert them one by one")
    return plan


@dataclass(slots=True)
class Converted:
    """What was written; of `readouts` in the files, `duplicates_left_out` were duplicates."""

    file: str
    readouts: int = 0
    hits: int = 0
    duplicates_left_out: int = 0
    things: str = "hit"

    def __str__(self) -> str:
        left_out = ""
        if self.duplicates_left_out:
            duplicates = numbers.counted(self.duplicates_left_out, "duplicate")
            left_out = f"; {duplicates} left out (--keep-duplicates keeps them)"
        readouts = numbers.counted(self.readouts, "readout")
        what = f"{numbers.counted(self.hits, self.things)} of {readouts}" if self.things else readouts
        return f"{what} written to {self.file}{left_out}"


@dataclass(frozen=True, slots=True)
class Job:
    """What the options ask for."""

    kind: Kind | None
    columns: list[str] | None
    pixels: bool
    keep_duplicates: bool
    force: bool

    def copy(self, sources: Sequence[Path], path: Path) -> tuple[Converted, list[str]]:
        """Write the readouts of a file to an .apx file; return what is wrong with it, too."""
        if len(sources) > 1:
            raise ConfigError(f"{path}: an .apx file comes from one file; give a directory and --format .apx")
        if self.columns is not None or self.pixels:
            raise ConfigError(f"{path}: --columns and --pixels are for tables")
        self._check(sources, path)
        with replacement(path) as draft:
            readouts, trouble = copy_readouts(sources[0], draft, self.kind)
        return Converted(str(path), readouts, things=""), [trouble] if trouble else []

    def tabulate(self, sources: Sequence[Path], path: Path) -> tuple[Converted, list[str]]:
        """Write the hits of files to a table; return what is wrong with the files, too."""
        make = table_class(path.suffix)
        self._check(sources, path)
        converted = Converted(str(path), things="pixel" if self.pixels else "hit")
        with ExitStack() as stack:
            inputs = [stack.enter_context(self._open(source)) for source in sources]
            types = self._types(inputs)
            header = _header(inputs)
            draft = stack.enter_context(replacement(path))
            table = make(draft, types, header, len(inputs))
            try:
                total = sum(source.stat().st_size for source in sources)
                with progress.open_file_display(total) as display:
                    _write(inputs, table, sum(map(_size_of, types.values())), total, display)
                table.finish(_header(inputs, complete=True))
            except BaseException:
                table.abandon()
                raise
            converted.readouts = sum(hits.readouts for hits in inputs)
            converted.hits = sum(hits.hits for hits in inputs)
            if not self.keep_duplicates:
                converted.duplicates_left_out = sum(hits.duplicates for hits in inputs)
            troubles = [hits.trouble for hits in inputs if hits.trouble]
        return converted, troubles

    def _open(self, path: Path) -> Hits:
        return open_hits(path, self.kind, pixels=self.pixels, keep_duplicates=self.keep_duplicates)

    def _check(self, sources: Sequence[Path], path: Path) -> None:
        if path.exists():
            if any(source.exists() and source.samefile(path) for source in sources):
                raise ConfigError(f"{path} is one of the inputs: choose another name")
            if not self.force:
                raise ConfigError(f"{path} exists: choose another name, or overwrite it with --force")

    def _types(self, inputs: Sequence[Hits]) -> dict[str, str]:
        """Return the columns to write."""
        first = inputs[0]
        for hits in inputs[1:]:
            if hits.kind.uid != first.kind.uid:
                raise ConfigError(
                    f"{hits.path} has readouts of {hits.kind}, {first.path} of {first.kind}: "
                    "a table holds one kind"
                )
        types = first.types
        for name in self.columns or ():
            if name not in types:
                raise ConfigError(f"unknown column {name!r}; there are {', '.join(types)}")
        return {name: types[name] for name in self.columns or types}


def _size_of(type_: str) -> int:
    return int(type_[1:])


_MUCH = 256 << 20  # bytes of memory that are worth a word
_WAITING = 4  # pieces that wait for being written, each some 3 MB


def _write(
    inputs: Sequence[Hits], table: Table, row_bytes: int, total: int, display: progress.Progress
) -> None:
    done, told = 0, not table.in_memory
    writing: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as writer:  # a few pieces are written while the next is decoded
        for hits in inputs:
            for columns in hits.chunks():
                if len(writing) >= _WAITING:
                    writing.popleft().result()
                if columns:
                    writing.append(writer.submit(table.write, columns))
                read = done + hits.read_bytes
                if not told:
                    told = True
                    _warn_of_memory(hits.hits * row_bytes * table.in_memory * total / max(1, read))
                if display.due(time.monotonic()):
                    display.show(time.monotonic(), read, f"{sum(each.hits for each in inputs)} hits")
            done += hits.read_bytes
        for written in writing:
            written.result()


def _warn_of_memory(size: float) -> None:
    if size > _MUCH:
        ending.log.warning("this format is built in memory: about %s", numbers.size(size))


def _header(inputs: Sequence[Hits], *, complete: bool = False) -> dict[str, Any]:
    """Return the header of the run, and under a key of our own what was counted.

    Of several files it is the header of the first; those of the others are with their counts.
    """
    header = dict(inputs[0].header) | {"readout_uid": inputs[0].kind.uid}
    ours: dict[str, Any] = {"program": f"astropix-stream {__version__}", "kind": inputs[0].kind.name}
    accounts: list[dict[str, Any]] = [
        hits.account() if complete else {"file": hits.path.name} for hits in inputs
    ]
    if len(inputs) == 1:
        return header | {"astropix_stream": ours | accounts[0]}
    if complete:
        summed = (name for name in accounts[0] if name not in ("file", "kind", "live_fraction"))
        ours |= {name: sum(account[name] for account in accounts) for name in summed}
        sent = sum(a["readouts"] - a["duplicates"] - a["late"] for a in accounts)
        ours["live_fraction"] = sent / (sent + ours["lost"]) if sent + ours["lost"] else 1.0
    for account, hits in zip(accounts[1:], inputs[1:], strict=True):
        account["header"] = dict(hits.header)
    return header | {"astropix_stream": ours | {"files": accounts}}
