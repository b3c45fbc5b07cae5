"""Colours and sizes of the page and its pictures. Pure.

Colours are told apart by people who see few: Okabe and Ito's set for lines and states, cividis for maps.
"""

from dataclasses import dataclass

from astropix_stream.counting.state import State


@dataclass(frozen=True, slots=True)
class Theme:
    """How plots look; the page's own style sheet has the same colours."""

    name: str
    background: str
    text: str
    faint: str
    grid: str
    empty: str
    """A pixel without hits."""
    fill: str
    readouts: str
    hits: str
    lost: str
    outline: str
    tick_px: int
    label_px: int


LIGHT = Theme(
    name="light",
    background="#ffffff",
    text="#1c2733",
    faint="#5a6a7a",
    grid="#e7ebf0",
    empty="#f0f2f5",
    fill="#0072b2",
    readouts="#0072b2",
    hits="#009e73",
    lost="#d55e00",
    outline="#111820",
    tick_px=12,
    label_px=13,
)
#: For the big screen of a control room, where the style sheet (--tick-px) makes letters larger.
DARK = Theme(
    name="dark",
    background="#141b23",
    text="#f2f5f8",
    faint="#a9b6c4",
    grid="#263240",
    empty="#1b242e",
    fill="#56b4e9",
    readouts="#56b4e9",
    hits="#2fc79c",
    lost="#ff8a3d",
    outline="#ffffff",
    tick_px=12,
    label_px=13,
)
THEMES = {theme.name: theme for theme in (LIGHT, DARK)}

MAX_LOSS_MARKERS = 20
"""Times of losses that are marked one by one; if there are more, the rate of losses is drawn."""

#: Each state has a sign beside its colour and its word.
SIGNS = {
    State.LIVE: "●",
    State.QUIET: "◌",
    State.LAGGING: "◔",
    State.LOSING: "▼",
    State.NO_NETWORK: "✕",
    State.NO_LOG: "✕",
    State.UPSTREAM_LOST: "✕",
}
