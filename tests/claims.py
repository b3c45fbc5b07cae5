"""What documents claim, and the tests that go red when it no longer holds.

Beside a claim stands, unseen by readers, ``<!-- test: tests/unit/test_it.py::TestIt::test_that -->``, or the
name of a row of the fault matrix: ``<!-- test: make faults: attack: random topics -->``.
"""

import ast
import re
from pathlib import Path

from matrix.rows import ROWS

ROOT = Path(__file__).parents[1]
ROW = "make faults: "
_MARK = re.compile(r"<!-- test: (.+?) -->", re.DOTALL)


def named_tests(text: str) -> list[str]:
    """Return the tests that a document names."""
    return [" ".join(name.split()) for name in _MARK.findall(text)]


def exists(name: str) -> bool:
    """Return whether there is such a test: a file, a class or function in it, or a row of the matrix."""
    if name.startswith(ROW):
        return name.removeprefix(ROW) in {row.name for row in ROWS}
    file, *steps = name.split("::")
    path = ROOT / file
    if not path.is_file() or not file.startswith("tests/"):
        return False
    body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    for step in steps:
        found = [
            node
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == step
        ]
        if not found:
            return False
        body = found[0].body
    return bool(steps) or any(_is_test(node) for node in body)


def _is_test(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name.lower().startswith("test")


def section(text: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one."""
    lines = text.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.lstrip("#").strip() == heading and line[:1] == "#")
    rest = lines[begin + 1 :]
    end = next((i for i, line in enumerate(rest) if re.match(r"#{1,6} ", line)), len(rest))
    return "\n".join(rest[:end])


def without_test(text: str) -> list[str]:
    """Return the sentences that claim something and name no test.

    A claim is a sentence of prose, or a row of a table. A test stands for the sentence before it, and for
    those before that one up to the last test or the beginning of the paragraph: what a reader takes as one.
    What another document or decision proves is linked to, and needs no test here.
    """
    found = []
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^\|.*\|\n(?=\|[\s|:-]+\|$)", "", text, flags=re.MULTILINE)  # the heads of tables
    for block in re.split(r"\n\s*\n|\n(?=- )|\n(?=\|)", text):
        body = block.strip()
        if not body or re.match(r"\|[\s|:-]+\|$|<!--.*-->$", body, re.DOTALL):
            continue
        tail = _MARK.split(body)[-1].strip(" .\n|")
        if tail:
            found.append(" ".join(tail.split()))
    return found
