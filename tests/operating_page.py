"""The commands of docs/operating.md, as the page gives them: a step for each block that a reader runs.

A comment before a block names it and says on which host it is run: ``<!-- step: install on relay -->``. A
block that opens an editor (`sudoedit`) is followed by the YAML that the reader writes there.
"""

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/operating.md"
TEXT = PAGE.read_text(encoding="utf-8")

_STEP = re.compile(
    r"^<!-- step: (?P<name>\w+) on (?P<host>\w+) -->\n```sh\n(?P<commands>.*?)^```\n"
    r"(?:\n```yaml\n(?P<yaml>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Step:
    """One block of commands, its host, and what is written into the editor that it opens."""

    name: str
    host: str
    commands: str
    yaml: str | None


STEPS = [Step(**found.groupdict()) for found in _STEP.finditer(TEXT)]
