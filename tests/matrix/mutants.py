"""A copy of the code under test with one line broken, to see that a verdict can be red."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = {
    "astropix_stream": ROOT / "client",
    "astropix_bridge": ROOT / "daemon",
    "astropix_daemon": ROOT / "daemon",
    "astropix_relay": ROOT / "daemon",
}


def break_lines(lines, directory):
    """Copy the packages to a directory for PYTHONPATH, and break lines there."""
    tree = Path(directory, "broken")
    for package, source in CODE.items():
        shutil.copytree(source / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    for broken in lines:
        path = tree / broken.file
        check_line(broken, path)
        path.write_text(path.read_text().replace(broken.line, broken.instead))
    return tree


def check_line(broken, path):
    """Raise LookupError unless the line to be broken is in the file, once."""
    count = path.read_text().count(broken.line) if path.exists() else 0
    if count != 1:
        raise LookupError(f"{broken.file} has {count} of {broken.line!r}: name another line")
