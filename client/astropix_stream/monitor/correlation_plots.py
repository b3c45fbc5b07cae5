"""The figures of what happens together, in Bokeh's models."""

from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool, Range1d
from bokeh.plotting import figure

from astropix_stream.monitor.coloured import NOTHING, Colours, keep_square, without_hits_empty
from astropix_stream.monitor.correlations import CorrelationsPanel
from astropix_stream.monitor.figures import counts_on, new_figure, set_range
from astropix_stream.monitor.geometry import chip_name
from astropix_stream.monitor.themes import Theme
from astropix_stream.monitor.view import View


class CorrelationsPlots:
    """Columns and rows of two chips against each other, differences of time, and clusters."""

    def __init__(self, theme: Theme) -> None:
        self._maps = {name: _Matrix(theme, f"correlation_{name}") for name in ("columns", "rows")}
        self._deltas = _Bars(theme, "coincidence", "second minus first chip, FPGA ticks", "pairs")
        self._clusters = _Bars(theme, "clusters", "pixels of a cluster", "clusters")

    def figures(self) -> list[figure]:
        """Return the figures."""
        maps = [one.figure for one in self._maps.values()]
        return [*maps, self._deltas.figure, self._clusters.figure]

    def update(self, view: View) -> None:
        """Show another view."""
        panel = view.panel
        if not isinstance(panel, CorrelationsPanel):
            return
        names = ["" if chip is None else chip_name(chip) for chip in (panel.first, panel.second)]
        self._maps["columns"].update(
            panel.columns, *(f"column of {name}" for name in names), log=view.choice.log
        )
        self._maps["rows"].update(panel.rows, *(f"row of {name}" for name in names), log=view.choice.log)
        self._deltas.update(panel.delta_edges, panel.deltas)
        last = max(5, int(np.flatnonzero(panel.clusters)[-1]) + 1 if panel.clusters.any() else 0)
        self._clusters.update(np.arange(1, last + 1) - 0.5, panel.clusters[1:last])


class _Matrix:
    """Pairs of places, in colours."""

    def __init__(self, theme: Theme, name: str) -> None:
        self.figure = fig = new_figure(
            theme, name, "", "", x_range=Range1d(-0.5, 15.5), y_range=Range1d(-0.5, 15.5)
        )
        fig.grid.visible = False
        self._source = ColumnDataSource({"shown": [NOTHING], "columns": [16], "rows": [16]})
        image = fig.image("shown", x=-0.5, y=-0.5, dw="columns", dh="rows", source=self._source)
        self._colours = Colours(fig, theme, image)
        tips = [("first, second", "$x{0}, $y{0}"), ("pairs", "@shown{0,0}")]
        fig.add_tools(HoverTool(renderers=[image], tooltips=tips))
        keep_square(fig, self._source)

    def update(self, counts: Any, x_label: str, y_label: str, *, log: bool) -> None:
        """Show other counts."""
        size = max(1, len(counts))
        shown = [without_hits_empty(counts.astype(np.float64))] if len(counts) else [np.full((1, 1), np.nan)]
        self._source.data = {"shown": shown, "columns": [size], "rows": [size]}
        self._colours.update([counts], log=log)
        self.figure.xaxis.axis_label, self.figure.yaxis.axis_label = x_label, y_label


class _Bars:
    """A histogram."""

    def __init__(self, theme: Theme, name: str, x_label: str, y_label: str) -> None:
        self.figure = fig = new_figure(
            theme, name, x_label, y_label, x_range=Range1d(0, 1), y_range=Range1d(0, 1)
        )
        self._source = ColumnDataSource({"left": [], "right": [], "count": []})
        bars = fig.quad(
            left="left", right="right", bottom=0, top="count", source=self._source,
            fill_color=theme.fill, fill_alpha=0.75, line_color=theme.fill,
        )  # fmt: skip
        tips = [("from, to", "@left, @right"), (y_label, "@count{0,0}")]
        fig.add_tools(HoverTool(renderers=[bars], tooltips=tips, mode="vline"))
        counts_on(fig.yaxis)

    def update(self, edges: Any, counts: Any) -> None:
        """Show other counts."""
        self._source.data = {"left": edges[:-1], "right": edges[1:], "count": counts}
        if len(edges) > 1:
            set_range(self.figure.x_range, float(edges[0]), float(edges[-1]))
        set_range(self.figure.y_range, 0, 1.08 * max([1, *counts.tolist()]))
