"""Files: how fast the columns of one are read, and the commands that read it whole."""

import sys
import time
from itertools import islice
from pathlib import Path

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.columns.files import PieceDecoder, Pieces
from astropix_stream.fileio import FileHeader, apx_open
from astropix_stream.fmt import ASTROPIX4, AstroPix4Readout
from bench.code_rows import timed_us
from bench.rows import Row
from programs import Program

# By the suffix of what a file is converted to, MB/s that must be reached; "" is `apx info`.
LIMITS = {".parquet": 50, ".npz": 50, ".csv": 20, "": 60}


def rows(scale, directory):
    """What `apx info` and `apx convert` do with a file, beside the reading of its bytes alone."""
    path = write_run(Path(directory) / "run.apx", scale.file_bytes)
    size, name = path.stat().st_size, f"one run in a file of {path.stat().st_size / 1e6:.3g} MB"
    columns = Row(f"columns of {name}", "reading it alone", "MB/s", "≥ 45 MB/s", least=45, absolute=True)
    for _ in range(scale.few_rounds):
        columns.ours.append(size / timed_us(lambda: read_columns(path)))
        columns.theirs.append(size / timed_us(path.read_bytes))
    return [columns, *(command(path, suffix, least, name, scale) for suffix, least in LIMITS.items())]


def command(path, suffix, least, name, scale):
    """Time a command on a file, its start included."""
    words = ["convert", path, path.with_suffix(suffix), "--force"] if suffix else ["info", path]
    what = f"apx convert to {suffix}, {name}" if suffix else f"apx info, {name}"
    row = Row(what, "", "MB/s", f"≥ {least} MB/s", least=least, note="with its start")
    for _ in range(scale.few_rounds):
        began = time.monotonic()
        with Program(sys.executable, "-m", "astropix_stream.cli", *words) as program:
            if program.wait(timeout=100):
                raise RuntimeError(f"{program}")
        row.ours.append(path.stat().st_size / 1e6 / (time.monotonic() - began))
    return row


def write_run(path, size_bytes):
    """Write a file of this size: one run, of 800 simulated readouts again and again, mostly of one hit.

    Their ids and timestamps go on, as those of a run do. (Where each 800 were a run of their own, a fifth of
    the time of `apx convert` went into 2000 beginnings of runs.)
    """
    run = [readout for _, readout in islice(Detector(seed=1, hits=1).readouts(), 801)]
    lasts_ns = run.pop().timestamp - run[0].timestamp
    passes = max(1, round(size_bytes / sum(len(readout.to_bytes()) for readout in run)))
    with apx_open(path, "wb", FileHeader(AstroPix4Readout, {})) as file:
        for n in range(passes):
            file.write(b"".join(moved(readout, n * len(run), n * lasts_ns) for readout in run))
    return path


def moved(readout, by, by_ns):
    """Return the bytes of a readout with another id and another timestamp."""
    return AstroPix4Readout(readout.data(), readout.readout_id + by, readout.timestamp + by_ns).to_bytes()


def read_columns(path):
    decoder = PieceDecoder(ASTROPIX4)
    with Pieces(path) as pieces:
        for piece in pieces:
            decoder.decode(piece)
