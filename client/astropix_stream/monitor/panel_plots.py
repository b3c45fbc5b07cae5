"""The figures of the parts of the page that are open one at a time, in Bokeh's models."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from bokeh.models import (
    ColorBar,
    ColumnDataSource,
    CustomJS,
    CustomJSHover,
    DatetimeTickFormatter,
    HoverTool,
    LinearColorMapper,
    LogColorMapper,
    Range1d,
    Span,
    Whisker,
)
from bokeh.palettes import Cividis256
from bokeh.plotting import figure

from astropix_stream.monitor.chips import ChipsPanel
from astropix_stream.monitor.correlations import CorrelationsPanel
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


def _on_tap(fig: figure, source: ColumnDataSource, call: str) -> None:
    """Let the browser say where a figure was clicked: assets/panels.js knows what that means."""
    code = f"if (globalThis.panels) panels.{call}(cb_obj, source)"
    fig.js_on_event("tap", CustomJS(args={"source": source}, code=code))


class _Colours:
    """Colours of an image, linear or logarithmic, and their bar."""

    def __init__(self, fig: figure, theme: Theme, renderer: Any) -> None:
        colours = {"palette": Cividis256, "low": 0, "high": 1, "nan_color": theme.empty}
        self._linear, self._log = LinearColorMapper(**colours), LogColorMapper(**{**colours, "low": 1})
        self._renderer = renderer
        self._bar = ColorBar(
            color_mapper=self._linear,
            background_fill_color=None,
            major_label_text_color=theme.text,
            major_label_text_font_size=f"{theme.tick_px}px",
            bar_line_color=None,
            major_tick_line_color=theme.faint,
            width=theme.tick_px,
            padding=8,
        )
        fig.add_layout(self._bar, "right")
        self._use(self._linear)

    def _use(self, mapper: Any) -> None:
        if self._renderer.glyph.color_mapper is not mapper:
            self._renderer.glyph.color_mapper = mapper
            self._bar.color_mapper = mapper

    def update(self, values: list[Any], *, log: bool) -> None:
        """Fit the limits to values; those that are not above 0 have no colour."""
        found = [one[one > 0] for one in values]
        some = np.concatenate(found) if found else np.zeros(0)
        high = float(some.max()) if len(some) else 1.0
        low = float(some.min()) if log and len(some) else 0.0
        mapper = self._log if log else self._linear
        mapper.update(low=low if not log or len(some) else 0.1, high=max(high, low * 1.0001 + 1e-9))
        self._use(mapper)


def _square(fig: figure, source: ColumnDataSource) -> None:
    models = {"fig": fig, "image": source}
    square = CustomJS(args=models, code="if (globalThis.apx) apx.squarePixels(fig, image)")
    for attribute in ("inner_width", "inner_height"):
        fig.js_on_change(attribute, square)
    source.js_on_change("data", square)


def _seen(values: Any) -> Any:
    """Leave pixels without hits to the colour of nothing."""
    return np.where(values > 0, values, np.nan)


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
        self._colours = _Colours(fig, theme, image)
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
        _on_tap(fig, self._maps, "chooseChip")
        _square(fig, self._extent)

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
            "shown": [_seen(one) for one in values],
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
        self._history = _course_figure(theme, "pixel_history", "hits per second")
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
        self._map = ColumnDataSource({"shown": [], "columns": [16], "rows": [13], "chip": [""]})
        image = fig.image("shown", x=-0.5, y=-0.5, dw="columns", dh="rows", source=self._map)
        self._colours = _Colours(fig, theme, image)
        self._marks = ColumnDataSource({"x": [], "y": []})
        fig.scatter(
            "x", "y", source=self._marks, marker="square", size=theme.tick_px,
            fill_alpha=0, line_color=theme.lost, line_width=2,
        )  # fmt: skip
        tips = [("column, row", "$x{0}, $y{0}"), ("rate", "@shown{0.[0000]}")]
        fig.add_tools(HoverTool(renderers=[image], tooltips=tips))
        _on_tap(fig, self._map, "choosePixel")
        _square(fig, self._map)
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
        _set_course(self._history, times, rates, timed=panel.timed)
        rows, columns = noise.rates.shape
        self._map.data = {
            "shown": [_seen(noise.rates)],
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


def _course_figure(theme: Theme, name: str, y_label: str) -> figure:
    fig = new_figure(
        theme, name, "time of day", y_label,
        x_axis_type="datetime", x_range=Range1d(0, 1), y_range=Range1d(0, 1),
    )  # fmt: skip
    fig.xaxis.formatter = DatetimeTickFormatter(
        seconds="%H:%M:%S", minsec="%H:%M:%S", minutes="%H:%M", hourmin="%H:%M", hours="%H:%M",
        days="%d %b %H:%M", strip_leading_zeros=False,
    )  # fmt: skip
    fig.xaxis.ticker.desired_num_ticks = 5
    return fig


def _set_course(fig: figure, times: Any, values: Any, *, timed: bool, from_zero: bool = True) -> None:
    """Fit the axes of a figure to a course over the run."""
    fig.xaxis.axis_label = "time of day" if timed else "readout id"
    if len(times):
        set_range(fig.x_range, float(times[0]), max(float(times[-1]), float(times[0]) + 1))
    found = np.asarray(values, np.float64)
    found = found[np.isfinite(found)]
    low, high = (float(found.min()), float(found.max())) if len(found) else (0.0, 1.0)
    room = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    set_range(
        fig.y_range, 0.0 if from_zero else low - room, high + (room if not from_zero else 0.1 * high or 1.0)
    )


class TrendPlots:
    """Mean, median and fitted peak of the spectrum over the run."""

    def __init__(self, theme: Theme) -> None:
        self._figure = fig = _course_figure(theme, "trend", "time over threshold [µs]")
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
        _set_course(self._figure, ends, shown, timed=panel.timed, from_zero=False)


def _value(point: Point, name: str) -> tuple[float, float]:
    """Return a value of a point and its error, NaN where there is none."""
    if name == "mean":
        return point.statistics.mean_us, point.statistics.mean_error_us
    if name == "median":
        return point.statistics.median_us, float("nan")
    if point.fit is None or point.fit.problem:
        return float("nan"), float("nan")
    return point.fit.peak_us, point.fit.peak_error_us


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
        self._source = ColumnDataSource({"shown": [], "columns": [16], "rows": [16]})
        image = fig.image("shown", x=-0.5, y=-0.5, dw="columns", dh="rows", source=self._source)
        self._colours = _Colours(fig, theme, image)
        tips = [("first, second", "$x{0}, $y{0}"), ("pairs", "@shown{0,0}")]
        fig.add_tools(HoverTool(renderers=[image], tooltips=tips))
        _square(fig, self._source)

    def update(self, counts: Any, x_label: str, y_label: str, *, log: bool) -> None:
        """Show other counts."""
        size = max(1, len(counts))
        shown = [_seen(counts.astype(np.float64))] if len(counts) else [np.full((1, 1), np.nan)]
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
