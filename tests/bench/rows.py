"""One row of the table: what was measured, against what, and whether it is within its limit."""

import statistics
from dataclasses import dataclass, field


@dataclass
class Row:
    """Figures of as many rounds; `theirs` round by round beside `ours`, empty where the limit is absolute."""

    what: str
    against: str
    unit: str
    limit: str
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    most: float | None = None
    """Of the ratio; of the figure itself where there is nothing beside it, or if `absolute`."""
    least: float | None = None
    note: str = ""
    absolute: bool = False
    curve: tuple[str, int] | None = None
    """Where it stands in the picture of cost by rate: in which part, and at how many readouts a second."""

    @property
    def figure(self) -> float:
        return statistics.median(self.ours)

    @property
    def ratios(self) -> list[float]:
        return [our / their for our, their in zip(self.ours, self.theirs, strict=False)]

    @property
    def judged(self) -> float:
        return statistics.median(self.ratios) if self.ratios and not self.absolute else self.figure

    @property
    def is_judged(self) -> bool:
        """Whether there is a limit."""
        return self.most is not None or self.least is not None

    @property
    def reached(self) -> bool:
        above = self.least is None or self.judged >= self.least
        return above and (self.most is None or self.judged <= self.most)

    def cells(self) -> list[str]:
        spread = self.ratios or self.ours
        verdict = "" if not self.is_judged else "yes" if self.reached else "**no**"
        return [
            self.what + (f" ({self.note})" if self.note else ""),
            f"{self.figure:.3g} {self.unit}",
            f"{self.against}: {statistics.median(self.theirs):.3g} {self.unit}"
            if self.theirs
            else self.against,
            f"{statistics.median(self.ratios):.2f}" if self.ratios else "",
            f"{min(spread):.2f} to {max(spread):.2f}"
            if self.ratios
            else f"{min(spread):.3g} to {max(spread):.3g}",
            self.limit,
            verdict,
        ]


HEADINGS = ["what", "figure", "against", "ratio", "spread", "must reach", "reached"]


def table(headings: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
