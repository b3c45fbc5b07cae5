"""The figures of what happens together, in Bokeh's models."""

from typing import Any

import numpy as np
from bokeh.models import HoverTool, Range1d
from bokeh.plotting import figure

from astropix_stream.monitor.coloured import add_colours, fit_colours, keep_square, without_hits_empty
from astropix_stream.monitor.correlations import CorrelationsPanel
from astropix_stream.monitor.drawing import Changes, columns, limits
from astropix_stream.monitor.figures import counts_on, new_figure, new_source
from astropix_stream.monitor.geometry import chip_name
from astropix_stream.monitor.themes import Theme
from astropix_stream.monitor.view import View

_MAPS = ("columns", "rows")


_NO_CHIP = 16  # rows and columns of an empty map


class CorrelationsPlots:
    """Columns and rows of two chips against each other, differences of time, and clusters."""

    def __init__(self, theme: Theme) -> None:
        maps = [_matrix(theme, f"correlation_{name}") for name in _MAPS]
        deltas = _bars(theme, "coincidence", "second minus first chip, FPGA ticks", "pairs")
        clusters = _bars(theme, "clusters", "pixels of a cluster", "clusters")
        self.figures = [*maps, deltas, clusters]

    @staticmethod
    def draw(view: View) -> Changes:
        """Return what they show of a view."""
        panel = view.panel
        if not isinstance(panel, CorrelationsPanel):
            return {}
        chips = [
            f"the {which} chip" if chip is None else chip_name(chip)
            for which, chip in (("first", panel.first), ("second", panel.second))
        ]
        changes = Changes()
        for what, counts in zip(_MAPS, (panel.columns, panel.rows), strict=True):
            labels = [f"{what.removesuffix('s')} of {chip}" for chip in chips]
            changes |= _draw_matrix(f"correlation_{what}", counts, *labels, log=view.choice.log)
        last = max(5, int(np.flatnonzero(panel.clusters)[-1]) + 1 if panel.clusters.any() else 0)
        changes |= _draw_bars("coincidence", panel.delta_edges, panel.deltas)
        return changes | _draw_bars("clusters", np.arange(1, last + 1) - 0.5, panel.clusters[1:last])


def _matrix(theme: Theme, name: str) -> figure:
    """Return a figure of pairs of places, in colours."""
    fig = new_figure(theme, name, "", "", x_range=Range1d(-0.5, 15.5), y_range=Range1d(-0.5, 15.5))
    fig.grid.visible = False
    fig.xaxis.name, fig.yaxis.name = f"{name}.x", f"{name}.y"
    source = new_source(f"{name}.image", "shown", "columns", "rows")
    image = fig.image("shown", x=-0.5, y=-0.5, dw="columns", dh="rows", source=source)
    images = add_colours(fig, theme, image)
    tips = [("first, second", "$x{0}, $y{0}"), ("pairs", "@shown{0,0}")]
    fig.add_tools(HoverTool(renderers=images, tooltips=tips))
    keep_square(fig, source)
    return fig


def _draw_matrix(name: str, counts: Any, x_label: str, y_label: str, *, log: bool) -> Changes:
    size = len(counts) or _NO_CHIP
    shown = without_hits_empty(counts) if len(counts) else np.full((size, size), np.nan)
    return {
        **fit_colours(name, [counts], log=log),
        f"{name}.image": columns(shown=[shown], columns=[size], rows=[size]),
        f"{name}.x": {"axis_label": x_label},
        f"{name}.y": {"axis_label": y_label},
    }


def _bars(theme: Theme, name: str, x_label: str, y_label: str) -> figure:
    """Return a figure of a histogram."""
    fig = new_figure(theme, name, x_label, y_label, x_range=Range1d(0, 1), y_range=Range1d(0, 1))
    fig.x_range.name, fig.y_range.name = f"{name}.x_range", f"{name}.y_range"
    bars = fig.quad(
        left="left", right="right", bottom=0, top="count",
        source=new_source(f"{name}.bars", "left", "right", "count"),
        fill_color=theme.fill, fill_alpha=0.75, line_color=theme.fill,
    )  # fmt: skip
    tips = [("from, to", "@left, @right"), (y_label, "@count{0,0}")]
    fig.add_tools(HoverTool(renderers=[bars], tooltips=tips, mode="vline"))
    counts_on(fig.yaxis)
    return fig


def _draw_bars(name: str, edges: Any, counts: Any) -> Changes:
    changes = {
        f"{name}.bars": columns(left=edges[:-1], right=edges[1:], count=counts),
        f"{name}.y_range": limits(0, 1.08 * max([1, *counts.tolist()])),
    }
    if len(edges) > 1:
        changes[f"{name}.x_range"] = limits(edges[0], edges[-1])
    return changes
