"""The figures of the parts of the page that are open one at a time, in Bokeh's models."""

from collections.abc import Callable
from typing import Any, Protocol

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
    NOTHING,
    Colours,
    course_figure,
    keep_square,
    on_tap,
    set_course,
    without_hits_empty,
)
from astropix_stream.monitor.correlation_plots import CorrelationsPlots
from astropix_stream.monitor.figures import (
    counts_on,
    decades_on,
    drawn,
    new_figure,
    set_range,
    style_legend,
    wall_ms_of,
)
from astropix_stream.monitor.geometry import chip_name, chip_value
from astropix_stream.monitor.panel_words import per_second
from astropix_stream.monitor.pixels import PixelPanel
from astropix_stream.monitor.themes import Theme
from astropix_stream.monitor.trend import Point, TrendPanel
from astropix_stream.monitor.view import View


class PanelPlots(Protocol):
    """The figures of a part of the page."""

    def figures(self) -> list[figure]:
        """Return them; each has the name of its data in the export."""

    def update(self, view: View) -> None:
        """Show another view, which has this part open."""


class ChipsPlots:
    """A small hit map of each chip, all in one figure."""

    def __init__(self, theme: Theme) -> None:
        self._figure = fig = new_figure(
            theme, "chips", "", "", x_range=Range1d(-0.5, 15.5), y_range=Range1d(-0.5, 12.5)
        )
        fig.axis.visible = fig.grid.visible = False
        self._extent = ColumnDataSource({"columns": [16], "rows": [13]})
        empty: dict[str, list[Any]] = {
            name: [] for name in ("shown", "hits", "x", "y", "w", "h", "chip", "name")
        }
        self._maps = ColumnDataSource(empty)
        self._labels = ColumnDataSource({"x": [], "y": [], "text": [], "short": []})
        image = fig.image("shown", x="x", y="y", dw="w", dh="h", source=self._maps)
        self._colours = Colours(fig, theme, image)
        fig.block(
            "x", "y", width="w", height="h", source=self._maps,
            fill_alpha=0, line_color=theme.faint, line_alpha=0.6,
        )  # fmt: skip
        labels = fig.text(
            "x", "y", "text", source=self._labels, text_color=theme.text, y_offset=-3,
            text_font_size=f"{theme.tick_px}px", text_baseline="bottom",
        )  # fmt: skip
        fit = CustomJS(
            args={"fig": fig, "maps": self._maps, "labels": labels},
            code="if (globalThis.panels) panels.fitLabels(fig, maps, labels)",
        )
        for model, attribute in ((fig, "inner_width"), (fig.x_range, "end"), (self._maps, "data")):
            model.js_on_change(attribute, fit)
        place = CustomJSHover(
            args={"maps": self._maps},
            code="const at = globalThis.panels?.chipAt(maps, special_vars.x, special_vars.y);"
            "return at ? `${at.chip}/${at.column}/${at.row}` : ''",
        )
        tips = [("chip/column/row", "$x{custom}"), ("hits", "@hits{0,0}")]
        fig.add_tools(HoverTool(renderers=[image], tooltips=tips, formatters={"$x": place}))
        on_tap(fig, self._maps, "chooseChip")
        keep_square(fig, self._extent)

    def figures(self) -> list[figure]:
        """Return the figure."""
        return [self._figure]

    def update(self, view: View) -> None:
        """Show another view."""
        panel = view.panel
        if not isinstance(panel, ChipsPanel):
            return
        chips = panel.chips
        values = [one.values for one in chips]
        self._maps.data = {
            "shown": [without_hits_empty(one) for one in values],
            "hits": [one.astype(np.float64) for one in values],
            "x": [one.x for one in chips],
            "y": [one.y for one in chips],
            "w": [one.values.shape[1] for one in chips],
            "h": [one.values.shape[0] for one in chips],
            "chip": [str(chip_value(one.chip)) for one in chips],
            "name": [chip_name(one.chip) for one in chips],
        }
        self._labels.data = {
            "x": [one.x for one in chips],
            "y": [one.y + one.values.shape[0] for one in chips],
            "text": [f"{chip_value(one.chip)}: {per_second(one.per_s)}" for one in chips],
            "short": [str(chip_value(one.chip)) for one in chips],
        }
        self._extent.data = {"columns": [panel.width], "rows": [panel.height]}
        self._colours.update(values, log=view.choice.log)


class PixelPlots:
    """A pixel's spectrum and history, and the noise of all pixels."""

    def __init__(self, theme: Theme) -> None:
        self._theme = theme
        self._make_pixel(theme)
        self._make_noise(theme)

    def _make_pixel(self, theme: Theme) -> None:
        self._tot = fig = new_figure(
            theme,
            "pixel_tot",
            "time over threshold [µs]",
            "hits",
            x_range=Range1d(0, 1),
            y_range=Range1d(0, 1),
        )
        self._bars = ColumnDataSource({name: [] for name in ("left", "right", "hits", "top", "bottom")})
        bars = fig.quad(
            left="left", right="right", bottom="bottom", top="top", source=self._bars,
            fill_color=theme.fill, fill_alpha=0.75, line_color=theme.fill,
        )  # fmt: skip
        tips = [("TOT", "@left{0.[0]} to @right{0.[0]} µs"), ("hits", "@hits{0,0}")]
        fig.add_tools(HoverTool(renderers=[bars], tooltips=tips, mode="vline"))
        counts_on(fig.yaxis)
        self._log = False
        self._history = course_figure(theme, "pixel_history", "hits per second")
        self._rate = ColumnDataSource({"x": [], "y": []})
        line = self._history.step("x", "y", source=self._rate, mode="after", color=theme.hits, line_width=2)
        tips = [("from", "@x{%H:%M:%S}"), ("rate", "@y{0.[000]} Hz")]
        self._history.add_tools(
            HoverTool(renderers=[line], tooltips=tips, formatters={"@x": "datetime"}, mode="vline")
        )

    def _make_noise(self, theme: Theme) -> None:
        self._noise = fig = new_figure(
            theme, "noise", "column", "row", x_range=Range1d(-0.5, 15.5), y_range=Range1d(-0.5, 12.5)
        )
        fig.grid.visible = False
        self._map = ColumnDataSource({"shown": [NOTHING], "columns": [16], "rows": [13], "chip": [""]})
        image = fig.image("shown", x=-0.5, y=-0.5, dw="columns", dh="rows", source=self._map)
        self._colours = Colours(fig, theme, image)
        self._marks = ColumnDataSource({"x": [], "y": []})
        fig.scatter(
            "x", "y", source=self._marks, marker="square", size=theme.tick_px,
            fill_alpha=0, line_color=theme.lost, line_width=2,
        )  # fmt: skip
        tips = [("column, row", "$x{0}, $y{0}"), ("rate", "@shown{0.[0000]}")]
        fig.add_tools(HoverTool(renderers=[image], tooltips=tips))
        on_tap(fig, self._map, "choosePixel")
        keep_square(fig, self._map)
        self._rates = fig = new_figure(
            theme, "noise_rates", "Hz", "pixels",
            x_range=Range1d(1, 10), y_range=Range1d(0, 1), x_axis_type="log",
        )  # fmt: skip
        self._pixels = ColumnDataSource({"left": [], "right": [], "pixels": []})
        bars = fig.quad(
            left="left", right="right", bottom=0, top="pixels", source=self._pixels,
            fill_color=theme.fill, fill_alpha=0.75, line_color=theme.fill,
        )  # fmt: skip
        tips = [("rate", "@left{0.[0000]} to @right{0.[0000]}"), ("pixels", "@pixels{0,0}")]
        fig.add_tools(HoverTool(renderers=[bars], tooltips=tips, mode="vline"))
        self._threshold = Span(dimension="height", line_color=theme.lost, line_width=2, line_dash="dashed")
        fig.add_layout(self._threshold)
        counts_on(fig.yaxis)

    def figures(self) -> list[figure]:
        """Return the figures."""
        return [self._tot, self._history, self._noise, self._rates]

    def update(self, view: View) -> None:
        """Show another view."""
        panel = view.panel
        if not isinstance(panel, PixelPanel):
            return
        edges, noise = panel.edges_us, panel.noise
        set_range(self._tot.x_range, edges[0], edges[-1])
        log = view.choice.tot_log
        tops = drawn(panel.tot, log=log)
        base = float(drawn(0, log=log))
        self._bars.data = {
            "left": edges[:-1], "right": edges[1:], "hits": panel.tot, "top": tops,
            "bottom": np.full(len(tops), base),
        }  # fmt: skip
        if log != self._log:
            self._log = log
            (decades_on if log else counts_on)(self._tot.yaxis)
        set_range(self._tot.y_range, base, 1.08 * max(float(drawn(1, log=log)) or 1.0, *tops.tolist()))
        times = wall_ms_of(view)(panel.times) if panel.timed else panel.times
        rates = np.append(panel.rates, panel.rates[-1:])
        self._rate.data = {"x": times, "y": rates}
        set_course(self._history, times, rates, timed=panel.timed)
        rows, columns = noise.rates.shape
        self._map.data = {
            "shown": [without_hits_empty(noise.rates)],
            "columns": [columns],
            "rows": [rows],
            "chip": ["" if noise.chip is None else str(chip_value(noise.chip))],
        }
        self._colours.update([noise.rates], log=True)
        noisy = [one.pixel for one in noise.noisy if one.pixel.chip == noise.chip]
        self._marks.data = {"x": [one.column for one in noisy], "y": [one.row for one in noisy]}
        self._pixels.data = {"left": noise.edges[:-1], "right": noise.edges[1:], "pixels": noise.pixels}
        set_range(self._rates.x_range, noise.edges[0], noise.edges[-1])
        set_range(self._rates.y_range, 0, 1.08 * max(1, *noise.pixels.tolist()))
        self._rates.xaxis.axis_label = "Hz" if noise.seconds else "hits"
        in_hz = view.choice.noise_in == "hz" and noise.seconds is not None
        self._threshold.update(location=view.choice.noise_above if in_hz else 1, visible=in_hz)


class TrendPlots:
    """Mean, median and fitted peak of the spectrum over the run."""

    def __init__(self, theme: Theme) -> None:
        self._figure = fig = course_figure(theme, "trend", "time over threshold [µs]")
        self._lines: dict[str, ColumnDataSource] = {}
        for name, label, colour, dash in (
            ("mean", "mean", theme.readouts, "solid"),
            ("median", "median", theme.hits, "dashed"),
            ("peak", "fitted peak", theme.outline, "solid"),
        ):
            source = self._lines[name] = ColumnDataSource({"x": [], "y": [], "low": [], "high": []})
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

    def figures(self) -> list[figure]:
        """Return the figure."""
        return [self._figure]

    def update(self, view: View) -> None:
        """Show another view."""
        panel = view.panel
        if not isinstance(panel, TrendPanel):
            return
        to_x: Callable[[Any], Any] = wall_ms_of(view) if panel.timed else np.asarray
        points = [point for point in panel.points if point.statistics.entries]
        middles = to_x(np.array([(point.begin + point.end) // 2 for point in points], np.int64))
        ends = to_x(np.array([end for point in points for end in (point.begin, point.end)], np.int64))
        shown: list[float] = []
        for name, source in self._lines.items():
            values = np.array([_value(point, name) for point in points]).reshape(-1, 2)
            known = np.isfinite(values[:, 0])
            y, error = values[known, 0], np.nan_to_num(values[known, 1])
            source.data = {"x": middles[known], "y": y, "low": y - error, "high": y + error}
            shown += [*(y - error), *(y + error)]
        self._figure.legend.items[-1].visible = view.fit is not None
        set_course(self._figure, ends, shown, timed=panel.timed, from_zero=False)


def _value(point: Point, name: str) -> tuple[float, float]:
    """Return a value of a point and its error, NaN where there is none."""
    if name == "mean":
        return point.statistics.mean_us, point.statistics.mean_error_us
    if name == "median":
        return point.statistics.median_us, float("nan")
    if point.fit is None or point.fit.problem:
        return float("nan"), float("nan")
    return point.fit.peak_us, point.fit.peak_error_us


_PLOTS: dict[str, Callable[[Theme], PanelPlots]] = {
    "chips": ChipsPlots,
    "pixel": PixelPlots,
    "spectrum": TrendPlots,
    "correlations": CorrelationsPlots,
}


def panel_plots(panel: str, theme: Theme) -> PanelPlots | None:
    """Make the figures of a part of the page; None if it has none of its own."""
    make = _PLOTS.get(panel)
    return None if make is None else make(theme)
