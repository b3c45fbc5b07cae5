"""Words that readers stumbled over: none of them in messages, help texts, comments, docstrings and documents.

What is right to write stands beside each. Add a word when a reader stumbles over it.
"""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("client", "daemon", "examples") for path in (ROOT / folder).rglob("*.py")
)
TEXTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*.md")),
    ROOT / "conformance/README.md",
    *sorted((ROOT / "config").glob("*.yaml")),
    *sorted((ROOT / "client/astropix_stream/monitor/assets").glob("*.js")),
    *sorted((ROOT / "client/astropix_stream/monitor/templates").glob("*.html")),
]
#: Made by programs from what was measured, or the record of what was once written.
MADE = {"CHANGELOG.md", "performance.md", "reliability.md"}

_VERBS = "Ask|Watch|Send|Write|Accept|Keep|Listen|Await|Print|Read"
WORDS = {
    r"\banew\b": "again",
    r"\bfor ever\b": "without end, forever",
    r"\bwhat became of\b": "what happened to, the account of",
    r"\blest\b": "so that … not",
    r"\b(whence|thence|hither|thereof|whereof|thrice|nought|henceforth)\b": "a word of this century",
    r"\bno kind of\b": "unsupported, not a kind of",
    r"\bis called something\b": "must end in",
    r"\bno (heart)?beat from b'": "the text, not Python's bytes",
    r"\b(Input should|Extra inputs are|unable to parse string as|Field required)\b": "a sentence of ours",
    r"\bleft to chance\b": "random",
    r"\bLose some\b": "Leave out this share",
    r"\bseveral for [A-Z] and [A-Z]\b": "repeat the option",
    r"\bwould be told more\b": "run as root to see more",
    r"\bbut its loopback\b": "except the loopback interface",
    r"\bmay no more\b": "no longer allowed",
    r"\bwhether a client may come in\b": "cannot check the client's key",
    r"\ba detector that is not there\b": "simulated",
    r"\bwhat nothing below explains\b": "not explained by the above",
    r"\ball of it are\b": "all are",
    r"\bthis machine's alone\b": "loopback",
    r"\bwhere [0-9{][^ ]* KiB (are|were) asked\b": "instead of the … requested",
    r"\btry: use\b": "try using",
    r"\bbegins with (b'|\{[^{}]*!r\})": "the bytes in hexadecimal, or what they are not",
    rf"\b({_VERBS})\b[^.;:]{{0,40}}(?<!are )\bno more\b": "stop, no longer",
    r"\bor no more\b": "or no longer kept",
    r"(?<!\")\b(he|his|him|she|her) (looks|sees|asks|reads|own|viewer|page|screen)\b": "they",
}
PROSE = {
    r"(?<![\w/.`'\"*>_-])[Bb]eats?\b(?![`'\"(=_]|\.\w)": "heartbeat",
    r"(?<![\w\"'`._])doubled\b(?![\"'`(=])": "duplicate, twice",
}


def texts_of(path):
    """Return what people read in a source: (line, text, whether it is prose rather than a message)."""
    source = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string, True
        elif token.type == tokenize.STRING or token.type == getattr(tokenize, "FSTRING_MIDDLE", -1):
            yield token.start[0], token.string, token.string.lstrip("rRuU").startswith('"""')


def prose_of(path):
    """Return the lines of a document that are not code."""
    is_code = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield number, re.sub(r"`[^`]*`", "`…`", line)


def wrong(words, text):
    flat = " ".join(text.split())
    return [
        f"{found[0]!r} (write: {right})" for word, right in words.items() if (found := re.search(word, flat))
    ]


def test_no_source_has_a_word_that_readers_stumbled_over():
    found = []
    for path in SOURCES:
        for line, text, is_prose in texts_of(path):
            words = WORDS | PROSE if is_prose else WORDS
            found += [f"{path.relative_to(ROOT)}:{line}: {each}" for each in wrong(words, text)]
    exempt = "client/astropix_stream/usage.py:3:"  # it says what it replaces
    assert not [each for each in found if not each.startswith(("client/astropix_stream/usage.py:1:", exempt))]


def test_no_document_has_a_word_that_readers_stumbled_over():
    found = []
    for path in TEXTS:
        words = WORDS if path.name in MADE or path.suffix in (".js", ".html") else WORDS | PROSE
        if path.name == "CHANGELOG.md":
            continue
        for line, text in prose_of(path):
            found += [f"{path.relative_to(ROOT)}:{line}: {each}" for each in wrong(words, text)]
    assert not found


@pytest.mark.parametrize(
    ("text", "is_wrong"),
    [
        ("connects anew", True),
        ("A beat each second", True),
        ("a heartbeat each second", False),
        ("topic `apx/x/beat`", False),
        ("Ask no more.", True),
        ("there are no more readouts", False),
        ("the doubled ones", True),
        ("Input should be a valid integer", True),
    ],
)
def test_the_words_are_found(text, is_wrong):
    assert bool(wrong(WORDS | PROSE, text)) is is_wrong
