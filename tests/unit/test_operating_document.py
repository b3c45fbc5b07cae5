"""docs/operating.md against the code: commands are run by tests, claims name theirs, log lines are real.

tests/systemd/test_operating.py runs the commands.
"""

import ast
import re
from pathlib import Path

import pytest

import claims
import operating_page

ROOT = Path(__file__).parents[2]
TEXT = operating_page.TEXT


def prose():
    """Return the paragraphs and list items, without code, tables, headings and what only leads to code."""
    text = re.sub(r"^( *)```.*?^\1```\n", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^ *<!-- (step|not run).*\n", "", text, flags=re.MULTILINE)
    parts = re.split(r"\n\s*\n|\n(?=(?:- |\d\. ))", text)
    parts = [part.strip() for part in parts]
    return [part for part in parts if part and part[0] not in "#|" and not part.endswith(":")]


@pytest.mark.parametrize("part", prose(), ids=lambda part: part[:40])
def test_each_claim_names_a_test_that_exists(part):
    named = re.findall(r"<!-- test: (\S+) -->", part)
    assert named or "<!-- no claim -->" in part, f"no test behind: {part}"
    for name in named:
        assert claims.exists(name), name


def test_each_command_is_run_by_a_test_in_its_order():
    tests = re.findall(
        r"^def test_(\w+)",
        (ROOT / "tests/systemd/test_operating.py").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert [step.name for step in operating_page.STEPS] == tests


def test_no_command_is_left_out():
    blocks = re.findall(r"^.*\n *```sh$", TEXT, re.MULTILINE)
    assert len(blocks) > 15
    for block in blocks:
        assert re.match(r" *<!-- (step: \w+ on \w+|not run: .*)", block), block


def log_texts():
    """Return all texts in the code of the daemon and of its sockets, with … for what is put in."""
    texts = []
    for folder in ("daemon/astropix_relay", "daemon/astropix_daemon", "client/astropix_stream"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [n.value if isinstance(n, ast.Constant) else "…" for n in node.values]
                    texts.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return [re.sub(r"%[sd]|%\.\d[fg]|\{\w*\}", "…", text) for text in texts]


TEXTS = log_texts()


# What the operating system says is in none of our texts; tests/systemd/test_changes.py makes it say so.
BY_THE_SYSTEM = "address already in use"


def log_lines():
    table = TEXT.split("## Log lines")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    lines = [line for row in rows for line in re.findall(r"`([^`]+)`", row)]
    return [line for line in lines if BY_THE_SYSTEM not in line]


@pytest.mark.parametrize("line", log_lines())
def test_the_relay_writes_each_log_line(line):
    """The pieces between what is put in stand in one text of the code; who says it may be put in, too."""
    line = re.sub(r"^(stream …|publish|publish\.endpoint): ", "", line)
    pieces = [piece.strip(" :") for piece in re.split(r"…|\d+", line) if piece.strip(" :")]
    wanted = re.compile(".*".join(map(re.escape, pieces)), re.DOTALL)
    assert any(wanted.search(text) for text in TEXTS), line
