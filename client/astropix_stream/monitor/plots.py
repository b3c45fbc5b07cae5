"""The figures of the page: what `view.View` holds, in Bokeh's models."""

from typing import Any

import numpy as np
from bokeh.models import (
    AllLabels,
    ColumnDataSource,
    DataRange1d,
    DatetimeTickFormatter,
    HoverTool,
    Range1d,
)
from bokeh.plotting import figure

from astropix_stream import numbers
from astropix_stream.monitor.coloured import Colours, keep_square, on_tap
from astropix_stream.monitor.figures import (
    counts_on,
    decades_on,
    drawn,
    from_zero,
    new_figure,
    style_legend,
    wall_ms,
)
from astropix_stream.monitor.geometry import DEFAULT
from astropix_stream.monitor.themes import MAX_LOSS_MARKERS, Theme
from astropix_stream.monitor.view import (
    View,
    against,
    compared_as,
    map_values,
    problem_names,
    shown_problems,
)

#: Which of these figures the parts of the page show; the overview has all.
_OPEN_IN = {"pixel": ("hit_map",), "spectrum": ("tot",)}


class Plots:
    """The figures of one viewer.

    Parameters
    ----------
    theme
        Colours and sizes.
    """

    def __init__(self, theme: Theme) -> None:
        self._plots: dict[str, Any] = {
            "hit_map": HitMap(theme),
            "tot": TotSpectrum(theme),
            "rates": Rates(theme),
            "per_readout": PerReadout(theme),
            "problems": Problems(theme),
            "profiles": Profiles(theme),
        }

    def figures(self) -> dict[str, figure]:
        """Return each figure by its name, which is also that of its data in the export."""
        return {name: plot.figure for name, plot in self._plots.items()}

    def update(self, view: View) -> None:
        """Show another view, in the figures of the part of the page that is open."""
        panel = view.choice.panel
        for name in self._plots if panel == "overview" else _OPEN_IN.get(panel, ()):
            self._plots[name].update(view)


class HitMap:
    """Columns and rows of the chip, in colours."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = new_figure(
            theme,
            "hit_map",
            "column",
            "row",
            x_range=Range1d(-0.5, DEFAULT.kind.columns - 0.5),
            y_range=Range1d(-0.5, DEFAULT.kind.rows - 0.5),
        )
        fig.grid.visible = False
        fig.title.update(
            align="right",
            text_color=theme.faint,
            text_font_size=f"{theme.label_px}px",
            text_font_style="normal",
        )  # of the colours; a title of the bar itself stands on its side
        fig.axis.minor_tick_line_color = None
        self._image = ColumnDataSource({"columns": [DEFAULT.kind.columns], "rows": [DEFAULT.kind.rows]})
        self._masked = ColumnDataSource({"x": [], "y": []})
        image = fig.image("shown", x=-0.5, y=-0.5, dw="columns", dh="rows", source=self._image)
        fig.scatter(
            "x", "y", marker="x", size=theme.tick_px, line_width=2, color=theme.faint, source=self._masked
        )
        self._colours = Colours(fig, theme, image)
        tips = [("column, row", "$x{0}, $y{0}"), ("hits", "@hits{0,0}"), ("mean TOT", "@tot{0.0} µs")]
        fig.add_tools(HoverTool(renderers=[image], tooltips=tips))
        keep_square(fig, self._image)
        on_tap(fig, self._image, "choosePixel")

    def update(self, view: View) -> None:
        """Show another view."""
        shown, title, (low, high) = map_values(view)
        rows, columns = shown.shape
        self._image.data = {
            "shown": [shown],
            "hits": [view.hit_map.astype(np.float64)],
            "tot": [view.mean_tot_us],
            "columns": [columns],
            "rows": [rows],
            "chips": [view.busiest],
        }
        y, x = np.nonzero(view.masked)
        self._masked.data = {"x": x, "y": y}
        self._colours.set_limits(low, high, log=view.choice.log)
        self.figure.title.text = title


class TotSpectrum:
    """Hits by TOT, with a fit, and beside or against those of another run."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = new_figure(
            theme, "tot", "time over threshold [µs]", "hits", x_range=Range1d(0, 1), y_range=from_zero()
        )
        self._bars = ColumnDataSource({name: [] for name in ("left", "right", "hits", "top", "bottom")})
        self._outline = ColumnDataSource({"x": [], "y": []})
        self._errors = ColumnDataSource({"x": [], "low": [], "high": []})
        self._fit = ColumnDataSource({"x": [], "y": []})
        bars = fig.quad(
            left="left", right="right", bottom="bottom", top="top", source=self._bars,
            fill_color=theme.fill, fill_alpha=0.75, line_color=theme.fill, line_width=1,
        )  # fmt: skip
        fig.step("x", "y", source=self._outline, mode="after", color=theme.outline, line_width=2)
        fig.segment("x", "low", "x", "high", source=self._errors, color=theme.outline, line_width=1)
        fig.line("x", "y", source=self._fit, color=theme.lost, line_width=3)
        fig.add_tools(
            HoverTool(
                renderers=[bars],
                tooltips=[("TOT", "@left{0.[0]} to @right{0.[0]} µs"), ("hits", "@hits{0,0}")],
                mode="vline",
            )
        )
        counts_on(fig.yaxis)
        self._log = False

    def update(self, view: View) -> None:
        """Show another view."""
        edges, log = view.tot_edges_us, view.choice.tot_log
        against_other = view.compared is not None and view.choice.compare_as != "overlay"
        log = log and not against_other  # neither a ratio nor a difference is a count
        base = float(drawn(0, log=log))
        top, low = drawn(view.tot, log=log), base
        self._errors.data = {"x": [], "low": [], "high": []}
        if against_other:
            top, errors = against(view, view.tot, view.tot_outline)
            middles = (edges[:-1] + edges[1:]) / 2
            known = np.isfinite(errors)
            self._errors.data = {
                "x": middles[known],
                "low": (top - errors)[known],
                "high": (top + errors)[known],
            }
            low = 1.05 * min(0.0, *(top - errors)[known].tolist())
        self._bars.data = {
            "left": edges[:-1], "right": edges[1:], "hits": view.tot, "top": top,
            "bottom": np.full(len(top), base),
        }  # fmt: skip
        self._outline.data = _steps(edges, () if against_other else drawn(view.tot_outline, log=log))
        self._fit.data = _curve(view, log=log) if not against_other else {"x": [], "y": []}
        self.figure.yaxis.axis_label = compared_as(view) if against_other else "hits"
        self._use_scale(log=log)
        self.figure.y_range.start = low
        axis = self.figure.x_range
        if (axis.reset_start, axis.reset_end) != (edges[0], edges[-1]):
            axis.update(start=edges[0], end=edges[-1], reset_start=edges[0], reset_end=edges[-1])

    def _use_scale(self, *, log: bool) -> None:
        if log == self._log:
            return
        self._log = log
        (decades_on if log else counts_on)(self.figure.yaxis)


def _curve(view: View, *, log: bool) -> dict[str, Any]:
    """Return the line of a fit: what it expects in each bin of the spectrum within its range."""
    fit, edges = view.fit, view.tot_edges_us
    if fit is None or not fit.found:
        return {"x": [], "y": []}
    expected = fit.curve(edges)
    inside = (edges[:-1] >= fit.from_us - 1e-9) & (edges[1:] <= fit.to_us + 1e-9)
    return {"x": ((edges[:-1] + edges[1:]) / 2)[inside], "y": drawn(expected[inside], log=log)}


def _steps(edges: Any, counts: Any) -> dict[str, Any]:
    """Return a histogram's outline for a step line: the last count stands for one more edge."""
    if not len(counts):
        return {"x": [], "y": []}
    return {"x": edges, "y": np.append(counts, counts[-1])}


class Rates:
    """Readouts and hits per second, and when readouts were lost."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = new_figure(
            theme,
            "rates",
            "time of day",
            "per second",
            x_axis_type="datetime",
            x_range=DataRange1d(range_padding=0),
            y_range=from_zero(room=0.25),  # for the legend
        )
        self._rates = ColumnDataSource({"t": [], "readouts": [], "hits": []})
        self._lost = ColumnDataSource({"t": [], "lost": [], "y": []})
        self._window = ColumnDataSource({"t": [], "y": []})
        fig.scatter("t", "y", source=self._window, alpha=0)  # so that the axis spans the whole window
        lost = fig.vspan(x="t", source=self._lost, line_color=theme.lost, line_width=1, line_alpha=0.6)
        marks = fig.scatter(
            "t", "y", source=self._lost, marker="triangle", size=14, color=theme.lost,
            legend_label="lost",
        )  # fmt: skip
        lost.level = marks.level = "overlay"
        line = fig.step(
            "t", "readouts", source=self._rates, mode="center", color=theme.readouts, line_width=2,
            legend_label="readouts",
        )  # fmt: skip
        fig.step(
            "t", "hits", source=self._rates, mode="center", color=theme.hits, line_width=2,
            line_dash="4 2", legend_label="hits",
        )  # fmt: skip
        time = {"@t": "datetime"}
        tips = [("time", "@t{%H:%M:%S}"), ("readouts/s", "@readouts{0,0.[0]}"), ("hits/s", "@hits{0,0.[0]}")]
        fig.add_tools(
            HoverTool(renderers=[line], tooltips=tips, formatters=time, mode="vline"),
            HoverTool(
                renderers=[marks], formatters=time,
                tooltips=[("time", "@t{%H:%M:%S}"), ("lost", "@lost{0,0} readouts")],
            ),
        )  # fmt: skip
        fig.xaxis.formatter = DatetimeTickFormatter(
            seconds="%H:%M:%S", minsec="%H:%M:%S", minutes="%H:%M", hourmin="%H:%M", hours="%H:%M",
            days="%d %b %H:%M", strip_leading_zeros=False,
        )  # fmt: skip
        fig.xaxis.ticker.desired_num_ticks = 5
        self._losses = ColumnDataSource({"t": [], "lost": []})
        self._loss_line = fig.step(
            "t", "lost", source=self._losses, mode="center", color=theme.lost, line_width=2,
            line_dash="1 2", legend_label="lost/s",
        )  # fmt: skip
        self._lost_label, self._loss_line_label = fig.legend.items[0], fig.legend.items[-1]
        style_legend(fig, theme)
        counts_on(fig.yaxis)

    def update(self, view: View) -> None:
        """Show another view."""
        series, to_ms = view.series, wall_ms(view)
        middles = to_ms(series.begins_s + series.width_s / 2)
        self._rates.data = {"t": middles, "readouts": series.readouts, "hits": series.hits}
        losing = np.flatnonzero(series.lost)
        many = len(losing) > MAX_LOSS_MARKERS
        self._lost_label.visible = len(losing) > 0 and not many
        self._loss_line.visible = self._loss_line_label.visible = many
        self._losses.data = {
            "t": middles if many else [],
            "lost": series.lost / series.width_s if many else [],
        }
        losing = losing[:0] if many else losing
        self._lost.data = {"t": middles[losing], "lost": series.lost[losing], "y": np.zeros(len(losing))}
        window_s = 60.0 * view.choice.window_min
        if len(middles):  # a page that was just opened has no use for ten empty minutes
            window_s = min(window_s, max(60.0, series.until_s - series.begins_s[0]))
        ends = np.array([series.until_s - window_s, series.until_s])
        self._window.data = {"t": to_ms(ends), "y": np.zeros(2)}


class PerReadout:
    """How many hits readouts have."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = new_figure(
            theme, "per_readout", "hits in a readout", "readouts",
            x_range=DataRange1d(range_padding=0.02), y_range=from_zero(),
        )  # fmt: skip
        self._bars = ColumnDataSource({"n": [], "readouts": []})
        self._outline = ColumnDataSource({"x": [], "y": []})
        bars = fig.vbar(
            x="n", top="readouts", width=0.9, source=self._bars,
            fill_color=theme.fill, fill_alpha=0.75, line_color=theme.fill,
        )  # fmt: skip
        fig.step("x", "y", source=self._outline, mode="after", color=theme.outline, line_width=2)
        tips = [("hits", "@n"), ("readouts", "@readouts{0,0}")]
        fig.add_tools(HoverTool(renderers=[bars], tooltips=tips, mode="vline"))
        counts_on(fig.axis)

    def update(self, view: View) -> None:
        """Show another view."""
        self._bars.data = {"n": np.arange(len(view.per_readout)), "readouts": view.per_readout}
        edges = np.arange(len(view.per_readout_outline) + 1) - 0.5
        self._outline.data = _steps(edges, view.per_readout_outline)


class Problems:
    """Readouts in which something was wrong, by status bit."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = new_figure(
            theme, "problems", "readouts", "",
            x_range=DataRange1d(start=0, range_padding=0.05, default_span=10),
            y_range=[f"{name}: 0" for name in reversed(problem_names(DEFAULT).values())],
        )  # fmt: skip
        self._bars = ColumnDataSource({"name": [], "readouts": []})
        bars = fig.hbar(
            y="name", right="readouts", height=0.7, source=self._bars, fill_color=theme.lost, line_color=None
        )
        fig.add_tools(
            HoverTool(renderers=[bars], tooltips=[("@name", "@readouts{0,0} readouts")], mode="hline")
        )
        fig.ygrid.visible = False
        fig.yaxis.major_label_policy = AllLabels()
        counts_on(fig.xaxis)

    def update(self, view: View) -> None:
        """Show another view."""
        # The figure stands in the label, where there is room for it: beside a long bar it would be cut.
        shown = {f"{name}: {numbers.grouped(count)}": count for name, count in shown_problems(view).items()}
        factors = list(reversed(shown))
        if factors != self.figure.y_range.factors:
            self.figure.y_range.factors = factors
        self._bars.data = {"name": list(shown), "readouts": list(shown.values())}


class Profiles:
    """Half hits by row and by column; shown where a hit is one of these."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = new_figure(
            theme, "profiles", "row or column", "half hits",
            x_range=Range1d(-0.5, 0.5), y_range=Range1d(0, 1),
        )  # fmt: skip  # a range that follows its data complains while the card is hidden
        self._lines = ColumnDataSource({"n": [], "rows": [], "columns": []})
        rows = fig.step(
            "n", "rows", source=self._lines, mode="center", color=theme.readouts, line_width=2,
            legend_label="rows",
        )  # fmt: skip
        fig.step(
            "n", "columns", source=self._lines, mode="center", color=theme.hits, line_width=2,
            line_dash="4 2", legend_label="columns",
        )  # fmt: skip
        tips = [("row or column", "@n"), ("rows", "@rows{0,0}"), ("columns", "@columns{0,0}")]
        fig.add_tools(HoverTool(renderers=[rows], tooltips=tips, mode="vline"))
        style_legend(fig, theme)
        counts_on(fig.axis)

    def update(self, view: View) -> None:
        """Show another view."""
        rows, columns = view.rows, view.columns
        size = max(len(rows), len(columns))
        high = 1.25 * max(1, *rows.tolist(), *columns.tolist()) if size else 1  # room for the legend
        self.figure.x_range.update(end=size - 0.5, reset_end=size - 0.5)
        self.figure.y_range.update(end=high, reset_end=high)
        self._lines.data = {
            "n": np.arange(size),
            "rows": np.pad(rows, (0, size - len(rows))),
            "columns": np.pad(columns, (0, size - len(columns))),
        }
