"""A copy of the code under test with one line broken, to see that a verdict can be red."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = {"astropix_stream": ROOT / "client", "astropix_relay": ROOT / "daemon"}


def break_lines(lines, directory):
    """Copy both packages to a directory for PYTHONPATH, and break lines there."""
    tree = Path(directory, "broken")
    for package, source in CODE.items():
        shutil.copytree(source / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    for broken in lines:
        path = tree / broken.file
        text = path.read_text()
        if text.count(broken.line) != 1:
            raise SystemExit(
                f"{broken.file} has {text.count(broken.line)} of {broken.line!r}: name another line"
            )
        path.write_text(text.replace(broken.line, broken.instead))
    return tree
