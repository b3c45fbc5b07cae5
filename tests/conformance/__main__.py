"""Writes conformance/*.jsonl: ``make conformance``."""

import json
from pathlib import Path

from conformance.frames import frames
from conformance.sessions import sessions

FOLDER = Path(__file__).parents[2] / "conformance"


def texts():
    """Return what each file holds."""
    return {
        name: "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        for name, lines in (("frames.jsonl", frames()), ("sessions.jsonl", sessions()))
    }


if __name__ == "__main__":
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
