"""Documents and workflows against the code: links, names of modules, places of losses, pinned actions."""

import re
import tomllib
from pathlib import Path

import pytest

import claims
from astropix_stream import __version__
from astropix_stream.counting.places import Place

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
WORKFLOWS = [*(ROOT / ".github/workflows").glob("*.yml")]
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
PACKAGES = (
    "client/astropix_stream",
    "daemon/astropix_bridge",
    "daemon/astropix_daemon",
    "daemon/astropix_relay",
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", document.read_text(encoding="utf-8"))
    for link in links:
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def anchors(text):
    """Return the anchors that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_architecture_names_files_that_there_are():
    paths = re.findall(r"`([\w.]+/[\w./-]*)`", ARCHITECTURE)
    assert len(paths) > 10
    for path in paths:
        assert any((ROOT / folder / path).exists() for folder in ("", *PACKAGES)), path


def test_the_architecture_names_modules_and_classes_that_there_are():
    """What is written `module.Name` or `wing.module`, with any number of further parts."""
    found = re.findall(r"`([a-z_]+(?:\.\w+)+)`", ARCHITECTURE)
    of_a_program = {"receiver.ledger"}
    names = {name for name in found if not name.endswith((".py", ".md", ".txt", ".toml"))} - of_a_program
    assert len(names) > 10
    for name in names:
        assert any(defines(ROOT / folder, name.split(".")) for folder in PACKAGES), name


def defines(folder, parts):
    """Return whether a file below the folder defines what the dotted name says."""
    for part in parts:
        if (folder / part).is_dir():
            folder = folder / part
        elif (file := folder / f"{part}.py").exists():
            text = file.read_text(encoding="utf-8")
            rest = parts[parts.index(part) + 1 :]
            return all(re.search(rf"\b(class|def) {name}\b|^{name}\b", text, re.MULTILINE) for name in rest)
        else:
            return False
    return True


def test_the_architecture_shows_the_floors_that_lint_checks():
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    for contract in rules["contracts"]:
        if contract["type"] == "layers":
            _, table = ARCHITECTURE.split(f"| floors of `{contract['containers'][0]}`")
            rows = table.split("\n\n")[0].splitlines()[2:]
            floors = [set(re.findall(r"`(\w+)`", row.split("|")[1])) for row in rows]
            assert floors == [set(re.findall(r"\w+", layer)) for layer in contract["layers"]]


def test_the_readme_installs_the_wheel_of_this_version():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"astropix_stream-([\d.]+\w*)-py3", text)) == {__version__}


def test_the_readme_explains_every_place_of_a_loss():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|`]+) \| `(\w+)` \|", text, re.MULTILINE)
    assert {(place.value, place.name.lower()) for place in Place} <= set(rows)


def test_the_architecture_names_every_place_of_a_loss():
    assert {place.name for place in Place} <= set(re.findall(r"`([A-Z_]+)`", ARCHITECTURE))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_with_their_version(workflow):
    used = re.findall(r"uses: *(.*)", workflow.read_text(encoding="utf-8"))
    assert used
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\./\S+", action), action


def test_the_tests_of_every_platform_are_there():
    names = (ROOT / "tests/unit/everywhere.txt").read_text().splitlines()
    assert names == sorted(set(names))
    assert all((ROOT / name).is_file() for name in names)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_test_that_a_document_names_exists(document):
    names = claims.named_tests(document.read_text(encoding="utf-8"))
    assert [name for name in names if not claims.exists(name)] == []


# The sections of each document that make claims.
CLAIMS = {
    "security": ("Who can do what", "What holds"),
    "monitor": ("Who may see it",),
}


@pytest.mark.parametrize(("name", "heading"), [(name, one) for name, of in CLAIMS.items() for one in of])
def test_each_claim_names_its_test(name, heading):
    text = (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")
    assert claims.without_test(claims.section(text, heading)) == []


def test_a_claim_without_its_test_is_noticed():
    text = """
It holds. <!-- test: tests/unit/test_documents.py::test_a_claim_without_its_test_is_noticed -->

- It cannot be read. <!-- test: tests/unit/test_documents.py -->
  And it cannot be written.
- It is fast.

| who | may |
|---|---|
| one | read |
| two | write <!-- test: make faults: stderr blocked --> |

```sh
cat <it
```
"""
    assert claims.without_test(text) == ["And it cannot be written", "- It is fast", "one | read"]


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("tests/unit/test_documents.py", True),
        ("tests/unit/test_documents.py::test_links_lead_somewhere", True),
        ("tests/integration/test_access.py::TestEncryption::test_both_keys_or_none", True),
        ("tests/integration/test_access.py::TestEncryption::test_that_is_not_there", False),
        ("tests/unit/test_documents.py::CLAIMS", False),
        ("tests/claims.py", False),
        ("tests/unit/test_nothing.py", False),
        ("make faults: stderr blocked", True),
        ("make faults: stderr", False),
    ],
)
def test_a_test_that_is_not_there_is_noticed(name, there):
    assert claims.exists(name) == there
