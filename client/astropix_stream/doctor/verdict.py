"""What a check answers, and what each fault is called, why it is one, and what mends it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Mark(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"
    """It cannot be told, or does harm in certain networks only."""

    @property
    def symbol(self) -> str:
        """The mark as one character."""
        return {"ok": "✔", "wrong": "✘", "unknown": "?"}[self]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line: what was checked, how it stands, and what to do about it.

    Attributes
    ----------
    check
        What was checked, in a word.
    text
        How it is.
    fault
        Key of the fault; empty where there is none.
    advice, command
        What mends it: in words, and to be typed. Empty where there is nothing to do, or no command does it.
    blocks
        No readout can arrive before this is mended.
    needs_root
        As root, the check could tell more.
    """

    check: str
    mark: Mark
    text: str
    fault: str = ""
    advice: str = ""
    command: str = ""
    blocks: bool = False
    needs_root: bool = False

    @property
    def is_wrong(self) -> bool:
        """Whether something has to be mended."""
        return self.mark is Mark.WRONG


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that can be wrong. Texts have {fields} that a check fills in.

    Attributes
    ----------
    key
        Its name for programs.
    message
        What a person is told.
    cause
        Why that keeps readouts away, for docs/troubleshooting.md.
    advice
        What to do.
    command
        What to type, one command a line; or several such texts, each with the case for which it is.
    blocks
        As in `Verdict`.
    """

    key: str
    message: str
    cause: str
    advice: str
    command: str | Mapping[str, str] = ""
    blocks: bool = False

    def found(self, check: str, *, mark: Mark = Mark.WRONG, case: str | None = None, **facts: Any) -> Verdict:
        """Return the verdict that it is so; `case` chooses the command, where there are several."""
        command = self.command if isinstance(self.command, str) else self.command[case] if case else ""
        message, advice, command = (text.format(**facts) for text in (self.message, self.advice, command))
        return Verdict(check, mark, message, self.key, advice, command, self.blocks)


def fine(check: str, text: str) -> Verdict:
    """Return the verdict that all is well."""
    return Verdict(check, Mark.OK, text)


def unknown(check: str, text: str, *, needs_root: bool = False) -> Verdict:
    """Return the verdict that it cannot be told."""
    return Verdict(check, Mark.UNKNOWN, text, needs_root=needs_root)


def first_to_mend(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return what to try first: what keeps readouts away, then what else is wrong, then what may be.

    Checks come in the order of the readouts' way, and what is wrong early explains what is seen later.
    """
    remediable = [verdict for verdict in verdicts if verdict.advice]
    return min(remediable, key=lambda verdict: (not verdict.is_wrong, not verdict.blocks), default=None)
