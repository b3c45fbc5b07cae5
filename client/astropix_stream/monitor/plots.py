"""The figures of the page: what `view.View` holds, in Bokeh's models."""

from typing import Any

import numpy as np
from bokeh.models import (
    AllLabels,
    DataRange1d,
    DatetimeTickFormatter,
    HoverTool,
    Range1d,
)
from bokeh.plotting import figure

from astropix_stream import numbers
from astropix_stream.monitor.coloured import add_colours, keep_square, limit_colours, on_tap
from astropix_stream.monitor.drawing import Changes, columns, limits
from astropix_stream.monitor.figures import (
    Scales,
    counts_on,
    drawn,
    from_zero,
    new_figure,
    new_source,
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


def new_figures(theme: Theme) -> list[figure]:
    """Return the figures of one viewer; each has the name of its data in the export."""
    return [plot(theme).figure for plot in _PLOTS.values()]


def draw(view: View) -> Changes:
    """Return what these figures show, in the part of the page that is open."""
    panel, changes = view.choice.panel, Changes()
    for name in _PLOTS if panel == "overview" else _OPEN_IN.get(panel, ()):
        changes |= _PLOTS[name].draw(view)
    return changes


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
        fig.title.name = "hit_map.title"
        source = new_source("hit_map.image", "shown", "hits", "tot", "columns", "rows", "chips")
        masked = new_source("hit_map.masked", "x", "y")
        image = fig.image("shown", x=-0.5, y=-0.5, dw="columns", dh="rows", source=source)
        images = add_colours(fig, theme, image)
        fig.scatter("x", "y", marker="x", size=theme.tick_px, line_width=2, color=theme.faint, source=masked)
        tips = [("column, row", "$x{0}, $y{0}"), ("hits", "@hits{0,0}"), ("mean TOT", "@tot{0.0} µs")]
        fig.add_tools(HoverTool(renderers=images, tooltips=tips))
        keep_square(fig, source)
        on_tap(fig, source, "choosePixel")

    @staticmethod
    def draw(view: View) -> Changes:
        """Return what it shows of a view."""
        shown, title, (low, high) = map_values(view)
        height, width = shown.shape
        y, x = np.nonzero(view.masked)
        return {
            **limit_colours("hit_map", low, high, log=view.choice.log),
            "hit_map.image": columns(
                shown=[shown],
                hits=[view.hit_map],
                tot=[view.mean_tot_us],
                columns=[width],
                rows=[height],
                chips=[view.busiest],
            ),
            "hit_map.masked": columns(x=x, y=y),
            "hit_map.title": {"text": title},
        }


class TotSpectrum:
    """Hits by TOT, with a fit, and beside or against those of another run."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = new_figure(
            theme, "tot", "time over threshold [µs]", "hits", x_range=Range1d(0, 1), y_range=from_zero()
        )
        source = new_source("tot.bars", left=[0], right=[1], hits=[0], top=[0], bottom=[0])
        outline, fit = new_source("tot.outline", "x", "y"), new_source("tot.fit", "x", "y")
        errors = new_source("tot.errors", "x", "low", "high")
        bars = fig.quad(
            left="left", right="right", bottom="bottom", top="top", source=source,
            fill_color=theme.fill, fill_alpha=0.75, line_color=theme.fill, line_width=1,
        )  # fmt: skip
        fig.step("x", "y", source=outline, mode="after", color=theme.outline, line_width=2)
        fig.segment("x", "low", "x", "high", source=errors, color=theme.outline, line_width=1)
        fig.line("x", "y", source=fit, color=theme.lost, line_width=3)
        fig.add_tools(
            HoverTool(
                renderers=[bars],
                tooltips=[("TOT", "@left{0.[0]} to @right{0.[0]} µs"), ("hits", "@hits{0,0}")],
                mode="vline",
            )
        )
        fig.x_range.name, fig.y_range.name = "tot.x_range", "tot.y_range"
        Scales.add(fig, "tot")

    @staticmethod
    def draw(view: View) -> Changes:
        """Return what it shows of a view."""
        edges, log = view.tot_edges_us, view.choice.tot_log
        against_other = view.compared is not None and view.choice.compare_as != "overlay"
        log = log and not against_other  # neither a ratio nor a difference is a count
        base = float(drawn(0, log=log))
        top, low = drawn(view.tot, log=log), base
        errors = columns(x=[], low=[], high=[])
        if against_other:
            top, error = against(view, view.tot, view.tot_outline)
            if view.choice.compare_as == "ratio":  # a bin of one hit by one would set the scale for all
                top = np.where((top > 0) & (error >= top), np.nan, top)
                error = np.where(np.isnan(top), np.nan, error)
            middles, known = (edges[:-1] + edges[1:]) / 2, np.isfinite(error)
            errors = columns(x=middles[known], low=(top - error)[known], high=(top + error)[known])
            low = 1.05 * min(0.0, *(top - error)[known].tolist())
        first, last = float(edges[0]), float(edges[-1])
        return {
            "tot.x_range": {"start": first, "end": last, "reset_start": first, "reset_end": last},
            "tot.y_range": {"start": low},
            "tot.y": {
                "axis_label": compared_as(view) if against_other else "hits",
                **Scales.shown("tot", log=log),
            },
            "tot.bars": columns(
                left=edges[:-1], right=edges[1:], hits=view.tot, top=top, bottom=np.full(len(top), base)
            ),
            "tot.outline": _steps(edges, () if against_other else drawn(view.tot_outline, log=log)),
            "tot.errors": errors,
            "tot.fit": columns(x=[], y=[]) if against_other else _curve(view, log=log),
        }


def _curve(view: View, *, log: bool) -> dict[str, Any]:
    """Return the line of a fit: what it expects in each bin of the spectrum within its range."""
    fit, edges = view.fit, view.tot_edges_us
    if fit is None or not fit.found:
        return columns(x=[], y=[])
    expected = fit.curve(edges)
    inside = (edges[:-1] >= fit.from_us - 1e-9) & (edges[1:] <= fit.to_us + 1e-9)
    return columns(x=((edges[:-1] + edges[1:]) / 2)[inside], y=drawn(expected[inside], log=log))


def _steps(edges: Any, counts: Any) -> dict[str, Any]:
    """Return a histogram's outline for a step line: the last count stands for one more edge."""
    if not len(counts):
        return columns(x=[], y=[])
    return columns(x=edges, y=np.append(counts, counts[-1]))


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
        rates = new_source("rates.rates", "t", "readouts", "hits")
        marked = new_source("rates.marked", "t", "lost", "y")
        fig.scatter(
            "t", "y", source=new_source("rates.window", t=[0, 1], y=[0, 0]), alpha=0
        )  # so that the axis spans the whole window
        lost = fig.vspan(x="t", source=marked, line_color=theme.lost, line_width=1, line_alpha=0.6)
        marks = fig.scatter(
            "t", "y", source=marked, marker="triangle", size=14, color=theme.lost,
            legend_label="lost",
        )  # fmt: skip
        lost.level = marks.level = "overlay"
        line = fig.step(
            "t", "readouts", source=rates, mode="center", color=theme.readouts, line_width=2,
            legend_label="readouts",
        )  # fmt: skip
        fig.step(
            "t", "hits", source=rates, mode="center", color=theme.hits, line_width=2,
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
        losses = fig.step(
            "t", "lost", source=new_source("rates.losses", "t", "lost"), mode="center", color=theme.lost,
            line_width=2, line_dash="1 2", legend_label="lost/s",
        )  # fmt: skip
        losses.name = "rates.loss_line"
        fig.legend.items[0].name, fig.legend.items[-1].name = "rates.marked_label", "rates.loss_line_label"
        style_legend(fig, theme)
        counts_on(fig.yaxis)

    @staticmethod
    def draw(view: View) -> Changes:
        """Return what it shows of a view."""
        series, to_ms = view.series, wall_ms(view)
        middles = to_ms(series.begins_s + series.width_s / 2)
        losing = np.flatnonzero(series.lost)
        many, some = len(losing) > MAX_LOSS_MARKERS, len(losing) > 0
        losses = columns(t=middles, lost=series.lost / series.width_s) if many else columns(t=[], lost=[])
        losing = losing[:0] if many else losing
        window_s = 60.0 * view.choice.window_min
        if len(middles):  # a page that was just opened has no use for ten empty minutes
            window_s = min(window_s, max(60.0, series.until_s - series.begins_s[0]))
        ends = to_ms(np.array([series.until_s - window_s, series.until_s]))
        return {
            "rates.window": columns(t=ends, y=[0, 0]),
            "rates.rates": columns(t=middles, readouts=series.readouts, hits=series.hits),
            "rates.marked": columns(t=middles[losing], lost=series.lost[losing], y=np.zeros(len(losing))),
            "rates.losses": losses,
            "rates.loss_line": {"visible": many},
            "rates.loss_line_label": {"visible": many},
            "rates.marked_label": {"visible": some and not many},
        }


class PerReadout:
    """How many hits readouts have."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = new_figure(
            theme, "per_readout", "hits in a readout", "readouts",
            x_range=DataRange1d(range_padding=0.02), y_range=from_zero(),
        )  # fmt: skip
        bars = fig.vbar(
            x="n", top="readouts", width=0.9, source=new_source("per_readout.bars", n=[0], readouts=[0]),
            fill_color=theme.fill, fill_alpha=0.75, line_color=theme.fill,
        )  # fmt: skip
        outline = new_source("per_readout.outline", "x", "y")
        fig.step("x", "y", source=outline, mode="after", color=theme.outline, line_width=2)
        tips = [("hits", "@n"), ("readouts", "@readouts{0,0}")]
        fig.add_tools(HoverTool(renderers=[bars], tooltips=tips, mode="vline"))
        counts_on(fig.axis)

    @staticmethod
    def draw(view: View) -> Changes:
        """Return what it shows of a view."""
        edges = np.arange(len(view.per_readout_outline) + 1) - 0.5
        return {
            "per_readout.bars": columns(n=np.arange(len(view.per_readout)), readouts=view.per_readout),
            "per_readout.outline": _steps(edges, view.per_readout_outline),
        }


class Problems:
    """Readouts in which something was wrong, by status bit."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = new_figure(
            theme, "problems", "readouts", "",
            x_range=DataRange1d(start=0, range_padding=0.05, default_span=10),
            y_range=[f"{name}: 0" for name in reversed(problem_names(DEFAULT).values())],
        )  # fmt: skip
        source = new_source("problems.bars", name=fig.y_range.factors[:1], readouts=[0])
        bars = fig.hbar(
            y="name", right="readouts", height=0.7, source=source, fill_color=theme.lost, line_color=None
        )
        fig.add_tools(
            HoverTool(renderers=[bars], tooltips=[("@name", "@readouts{0,0} readouts")], mode="hline")
        )
        fig.y_range.name = "problems.y_range"
        fig.ygrid.visible = False
        fig.yaxis.major_label_policy = AllLabels()
        counts_on(fig.xaxis)

    @staticmethod
    def draw(view: View) -> Changes:
        """Return what it shows of a view."""
        # The figure stands in the label, where there is room for it: beside a long bar it would be cut.
        shown = {f"{name}: {numbers.grouped(count)}": count for name, count in shown_problems(view).items()}
        return {
            "problems.y_range": {"factors": list(reversed(shown))},
            "problems.bars": columns(name=list(shown), readouts=list(shown.values())),
        }


class Profiles:
    """Half hits by row and by column; shown where a hit is one of these."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = new_figure(
            theme, "profiles", "row or column", "half hits",
            x_range=Range1d(-0.5, 0.5), y_range=Range1d(0, 1),
        )  # fmt: skip  # a range that follows its data complains while the card is hidden
        fig.x_range.name, fig.y_range.name = "profiles.x_range", "profiles.y_range"
        lines = new_source("profiles.lines", "n", "rows", "columns")
        rows = fig.step(
            "n", "rows", source=lines, mode="center", color=theme.readouts, line_width=2,
            legend_label="rows",
        )  # fmt: skip
        fig.step(
            "n", "columns", source=lines, mode="center", color=theme.hits, line_width=2,
            line_dash="4 2", legend_label="columns",
        )  # fmt: skip
        tips = [("row or column", "@n"), ("rows", "@rows{0,0}"), ("columns", "@columns{0,0}")]
        fig.add_tools(HoverTool(renderers=[rows], tooltips=tips, mode="vline"))
        style_legend(fig, theme)
        counts_on(fig.axis)

    @staticmethod
    def draw(view: View) -> Changes:
        """Return what it shows of a view."""
        profiles = {"rows": view.rows, "columns": view.columns}
        size = max(map(len, profiles.values()))
        if not size:
            return {}
        high = 1.25 * max(1, *view.rows.tolist(), *view.columns.tolist())  # room for the legend
        padded = {name: np.pad(one, (0, size - len(one))) for name, one in profiles.items()}
        return {
            "profiles.x_range": limits(-0.5, size - 0.5),
            "profiles.y_range": limits(0, high),
            "profiles.lines": columns(n=np.arange(size), **padded),
        }


_PLOTS: dict[str, Any] = {
    "hit_map": HitMap,
    "tot": TotSpectrum,
    "rates": Rates,
    "per_readout": PerReadout,
    "problems": Problems,
    "profiles": Profiles,
}
