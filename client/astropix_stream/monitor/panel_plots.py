"""The figures of the parts of the page that are open one at a time, in Bokeh's models."""

from collections.abc import Callable
from typing import Any

import numpy as np
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    CustomJSHover,
    HoverTool,
    Range1d,
    Span,
    Whisker,
)
from bokeh.plotting import figure

from astropix_stream.monitor.chips import ChipsPanel
from astropix_stream.monitor.coloured import (
    add_colours,
    course_figure,
    fit_colours,
    keep_square,
    on_tap,
    set_course,
    without_hits_empty,
)
from astropix_stream.monitor.correlation_plots import CorrelationsPlots
from astropix_stream.monitor.drawing import Changes, columns, limits
from astropix_stream.monitor.figures import (
    Scales,
    counts_on,
    drawn,
    new_figure,
    new_source,
    style_legend,
    wall_ms_of,
)
from astropix_stream.monitor.geometry import chip_name, chip_value
from astropix_stream.monitor.panel_words import per_second
from astropix_stream.monitor.pixels import PixelPanel
from astropix_stream.monitor.themes import Theme
from astropix_stream.monitor.trend import Point, TrendPanel
from astropix_stream.monitor.view import View


class ChipsPlots:
    """A small hit map of each chip, all in one figure."""

    def __init__(self, theme: Theme) -> None:
        fig = new_figure(theme, "chips", "", "", x_range=Range1d(-0.5, 15.5), y_range=Range1d(-0.5, 12.5))
        fig.axis.visible = fig.grid.visible = False
        fig.x_range.name = "chips.x_range"
        extent = ColumnDataSource({"columns": [16], "rows": [13]}, name="chips.extent")
        maps = new_source("chips.maps", "shown", "hits", "x", "y", "w", "h", "chip", "name")
        names = new_source("chips.labels", "x", "y", "text", "short")
        image = fig.image("shown", x="x", y="y", dw="w", dh="h", source=maps)
        images = add_colours(fig, theme, image)
        fig.block(
            "x", "y", width="w", height="h", source=maps,
            fill_alpha=0, line_color=theme.faint, line_alpha=0.6,
        )  # fmt: skip
        labels = fig.text(
            "x", "y", "text", source=names, text_color=theme.text, y_offset=-3,
            text_font_size=f"{theme.tick_px}px", text_baseline="bottom",
        )  # fmt: skip
        fit = CustomJS(
            args={"fig": fig, "maps": maps, "labels": labels},
            code="if (globalThis.panels) panels.fitLabels(fig, maps, labels)",
        )
        for model, attribute in ((fig, "inner_width"), (fig.x_range, "end"), (maps, "data")):
            model.js_on_change(attribute, fit)
        place = CustomJSHover(
            args={"maps": maps},
            code="const at = globalThis.panels?.chipAt(maps, special_vars.x, special_vars.y);"
            "return at ? `${at.chip}/${at.column}/${at.row}` : ''",
        )
        tips = [("chip/column/row", "$x{custom}"), ("hits", "@hits{0,0}")]
        fig.add_tools(HoverTool(renderers=images, tooltips=tips, formatters={"$x": place}))
        on_tap(fig, maps, "chooseChip")
        keep_square(fig, extent)
        self.figures = [fig]

    @staticmethod
    def draw(view: View) -> Changes:
        """Return what it shows of a view."""
        panel = view.panel
        if not isinstance(panel, ChipsPanel):
            return {}
        chips = panel.chips
        values = [one.values for one in chips]
        x, y = [one.x for one in chips], [one.y for one in chips]
        return {
            **fit_colours("chips", values, log=view.choice.log),
            "chips.extent": columns(columns=[panel.width], rows=[panel.height]),
            "chips.maps": columns(
                shown=[without_hits_empty(one) for one in values],
                hits=values,
                x=x,
                y=y,
                w=[one.shape[1] for one in values],
                h=[one.shape[0] for one in values],
                chip=[str(chip_value(one.chip)) for one in chips],
                name=[chip_name(one.chip) for one in chips],
            ),
            "chips.labels": columns(
                x=x,
                y=[one.y + one.values.shape[0] for one in chips],
                text=[f"{chip_value(one.chip)}: {per_second(one.per_s)}" for one in chips],
                short=[str(chip_value(one.chip)) for one in chips],
            ),
        }


class PixelPlots:
    """A pixel's spectrum and history, and the noise of all pixels."""

    def __init__(self, theme: Theme) -> None:
        self.figures = [make(theme) for make in (_pixel_tot, _pixel_history, _noise, _noise_rates)]

    @staticmethod
    def draw(view: View) -> Changes:
        """Return what they show of a view."""
        panel = view.panel
        return _draw_pixel(panel, view) | _draw_noise(panel, view) if isinstance(panel, PixelPanel) else {}


def _pixel_tot(theme: Theme) -> figure:
    fig = new_figure(
        theme, "pixel_tot", "time over threshold [µs]", "hits", x_range=Range1d(0, 1), y_range=Range1d(0, 1)
    )
    fig.x_range.name, fig.y_range.name = "pixel_tot.x_range", "pixel_tot.y_range"
    bars = fig.quad(
        left="left", right="right", bottom="bottom", top="top",
        source=new_source("pixel_tot.bars", "left", "right", "hits", "top", "bottom"),
        fill_color=theme.fill, fill_alpha=0.75, line_color=theme.fill,
    )  # fmt: skip
    tips = [("TOT", "@left{0.[0]} to @right{0.[0]} µs"), ("hits", "@hits{0,0}")]
    fig.add_tools(HoverTool(renderers=[bars], tooltips=tips, mode="vline"))
    Scales.add(fig, "pixel_tot")
    return fig


def _pixel_history(theme: Theme) -> figure:
    fig = course_figure(theme, "pixel_history", "hits per second")
    rate = new_source("pixel_history.rate", "x", "y")
    line = fig.step("x", "y", source=rate, mode="after", color=theme.hits, line_width=2)
    tips = [("from", "@x{%H:%M:%S}"), ("rate", "@y{0.[000]} Hz")]
    fig.add_tools(HoverTool(renderers=[line], tooltips=tips, formatters={"@x": "datetime"}, mode="vline"))
    return fig


def _noise(theme: Theme) -> figure:
    fig = new_figure(
        theme, "noise", "column", "row", x_range=Range1d(-0.5, 15.5), y_range=Range1d(-0.5, 12.5)
    )
    fig.grid.visible = False
    source = new_source("noise.image", "shown", "columns", "rows", "chip")
    image = fig.image("shown", x=-0.5, y=-0.5, dw="columns", dh="rows", source=source)
    images = add_colours(fig, theme, image)
    fig.scatter(
        "x", "y", source=new_source("noise.marks", "x", "y"), marker="square", size=theme.tick_px,
        fill_alpha=0, line_color=theme.lost, line_width=2,
    )  # fmt: skip
    tips = [("column, row", "$x{0}, $y{0}"), ("rate", "@shown{0.[0000]}")]
    fig.add_tools(HoverTool(renderers=images, tooltips=tips))
    on_tap(fig, source, "choosePixel")
    keep_square(fig, source)
    return fig


def _noise_rates(theme: Theme) -> figure:
    fig = new_figure(
        theme, "noise_rates", "Hz", "pixels",
        x_range=Range1d(1, 10), y_range=Range1d(0, 1), x_axis_type="log",
    )  # fmt: skip
    fig.x_range.name, fig.y_range.name = "noise_rates.x_range", "noise_rates.y_range"
    fig.xaxis.name = "noise_rates.x"
    bars = fig.quad(
        left="left", right="right", bottom=0, top="pixels",
        source=new_source("noise_rates.bars", "left", "right", "pixels"),
        fill_color=theme.fill, fill_alpha=0.75, line_color=theme.fill,
    )  # fmt: skip
    tips = [("rate", "@left{0.[0000]} to @right{0.[0000]}"), ("pixels", "@pixels{0,0}")]
    fig.add_tools(HoverTool(renderers=[bars], tooltips=tips, mode="vline"))
    fig.add_layout(
        Span(
            dimension="height", line_color=theme.lost, line_width=2, line_dash="dashed",
            name="noise_rates.threshold",
        )
    )  # fmt: skip
    counts_on(fig.yaxis)
    return fig


def _draw_pixel(panel: PixelPanel, view: View) -> Changes:
    edges, log = panel.edges_us, view.choice.tot_log
    tops, base = drawn(panel.tot, log=log), float(drawn(0, log=log))
    times = wall_ms_of(view)(panel.times) if panel.timed else panel.times
    rates = np.append(panel.rates, panel.rates[-1:])
    return {
        "pixel_tot.x_range": limits(edges[0], edges[-1]),
        "pixel_tot.y_range": limits(base, 1.08 * max(float(drawn(1, log=log)) or 1.0, *tops.tolist())),
        "pixel_tot.y": Scales.shown("pixel_tot", log=log),
        "pixel_tot.bars": columns(
            left=edges[:-1], right=edges[1:], hits=panel.tot, top=tops, bottom=np.full(len(tops), base)
        ),
        "pixel_history.rate": columns(x=times, y=rates),
        **set_course("pixel_history", times, rates, timed=panel.timed),
    }


def _draw_noise(panel: PixelPanel, view: View) -> Changes:
    noise = panel.noise
    height, width = noise.rates.shape
    noisy = [one.pixel for one in noise.noisy if one.pixel.chip == noise.chip]
    in_hz = view.choice.noise_in == "hz" and noise.seconds is not None
    return {
        **fit_colours("noise", [noise.rates], log=True),
        "noise.image": columns(
            shown=[without_hits_empty(noise.rates)],
            columns=[width],
            rows=[height],
            chip=["" if noise.chip is None else str(chip_value(noise.chip))],
        ),
        "noise.marks": columns(x=[one.column for one in noisy], y=[one.row for one in noisy]),
        "noise_rates.x": {"axis_label": "Hz" if noise.seconds else "hits"},
        "noise_rates.x_range": limits(noise.edges[0], noise.edges[-1]),
        "noise_rates.y_range": limits(0, 1.08 * max(1, *noise.pixels.tolist())),
        "noise_rates.bars": columns(left=noise.edges[:-1], right=noise.edges[1:], pixels=noise.pixels),
        "noise_rates.threshold": {"location": view.choice.noise_above if in_hz else 1, "visible": in_hz},
    }


class TrendPlots:
    """Mean, median and fitted peak of the spectrum over the run."""

    def __init__(self, theme: Theme) -> None:
        fig = course_figure(theme, "trend", "time over threshold [µs]")
        for name, label, colour, dash in (
            ("mean", "mean", theme.readouts, "solid"),
            ("median", "median", theme.hits, "dashed"),
            ("peak", "fitted peak", theme.outline, "solid"),
        ):
            source = new_source(f"trend.{name}", "x", "y", "low", "high")
            fig.line("x", "y", source=source, color=colour, line_width=1, line_dash=dash, legend_label=label)
            dots = fig.scatter("x", "y", source=source, color=colour, size=6, legend_label=label)
            fig.add_layout(Whisker(base="x", lower="low", upper="high", source=source, line_color=colour,
                                   upper_head=None, lower_head=None))  # fmt: skip
            tips = [
                ("time", "@x{%H:%M:%S}"),
                (label, "@y{0.00} µs"),
                ("between", "@low{0.00} and @high{0.00}"),
            ]
            fig.add_tools(HoverTool(renderers=[dots], tooltips=tips, formatters={"@x": "datetime"}))
        style_legend(fig, theme)
        fig.legend.items[-1].name = "trend.peak_label"
        self.figures = [fig]

    @staticmethod
    def draw(view: View) -> Changes:
        """Return what it shows of a view."""
        panel = view.panel
        if not isinstance(panel, TrendPanel):
            return {}
        to_x: Callable[[Any], Any] = wall_ms_of(view) if panel.timed else np.asarray
        points = [point for point in panel.points if point.statistics.entries]
        middles = to_x(np.array([(point.begin + point.end) // 2 for point in points], np.int64))
        ends = to_x(np.array([end for point in points for end in (point.begin, point.end)], np.int64))
        changes: Changes = {"trend.peak_label": {"visible": view.fit is not None}}
        shown: list[float] = []
        for name in ("mean", "median", "peak"):
            values = np.array([_value(point, name) for point in points]).reshape(-1, 2)
            known = np.isfinite(values[:, 0])
            y, error = values[known, 0], np.nan_to_num(values[known, 1])
            changes[f"trend.{name}"] = columns(x=middles[known], y=y, low=y - error, high=y + error)
            shown += [*(y - error), *(y + error)]
        return changes | set_course("trend", ends, shown, timed=panel.timed, from_zero=False)


def _value(point: Point, name: str) -> tuple[float, float]:
    """Return a value of a point and its error, NaN where there is none."""
    if name == "mean":
        return point.statistics.mean_us, point.statistics.mean_error_us
    if name == "median":
        return point.statistics.median_us, float("nan")
    if point.fit is None or point.fit.problem:
        return float("nan"), float("nan")
    return point.fit.peak_us, point.fit.peak_error_us


_PLOTS: dict[str, Any] = {
    "chips": ChipsPlots,
    "pixel": PixelPlots,
    "spectrum": TrendPlots,
    "correlations": CorrelationsPlots,
}


def new_figures(panel: str, theme: Theme) -> list[figure]:
    """Return the figures of a part of the page, if it has any of its own."""
    return _PLOTS[panel](theme).figures if panel in _PLOTS else []


def draw(view: View) -> Changes:
    """Return what the figures of the open part of the page show."""
    plots = _PLOTS.get(view.choice.panel)
    changes: Changes = {} if plots is None else plots.draw(view)
    return changes
