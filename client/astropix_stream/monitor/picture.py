"""The page as one picture, drawn without a browser: for logbooks."""

import io
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from astropix_stream import numbers
from astropix_stream.monitor import words
from astropix_stream.monitor.themes import LIGHT, MAX_LOSS_MARKERS, Theme
from astropix_stream.monitor.view import View, map_values, shown_problems

_SIZE_IN = (14, 8.5)
_DPI = 100


#: Matplotlib as it comes: what a person set for other plots does not apply. The backend is not asked for.
_SETTINGS: dict[Any, Any] = {name: value for name, value in rcParamsDefault.items() if name != "backend"}


def draw(view: View, theme: Theme = LIGHT) -> bytes:
    """Return the view as PNG."""
    with rc_context(_SETTINGS):
        return _draw(view, theme)


def _draw(view: View, theme: Theme) -> bytes:
    # Not pyplot: it keeps figures, and may be used from one thread only.
    layout = ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1)
    figure = Figure(figsize=_SIZE_IN, dpi=_DPI, layout=layout, facecolor=theme.background)
    figure.suptitle(_headline(view), x=0.01, ha="left", fontsize=14, color=theme.text, parse_math=False)
    above, below = figure.subfigures(
        2, 1, squeeze=False, height_ratios=(2, 1)
    ).flat  # each with margins of its own
    panels = above.subplot_mosaic([["map", "rates"], ["map", "tot"]], width_ratios=(2, 3))
    profiles = ["profiles"] if view.geometry.half_hits else []
    panels |= below.subplot_mosaic([["per_readout", *profiles, "problems"]])
    for panel in panels.values():
        _style(panel, theme)
    _draw_map(panels["map"], view, theme)
    _draw_rates(panels["rates"], view, theme)
    _draw_tot(panels["tot"], view, theme)
    _draw_per_readout(panels["per_readout"], view, theme)
    _draw_problems(panels["problems"], view, theme)
    if profiles:
        _draw_profiles(panels["profiles"], view, theme)
    file = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(file, format="png", metadata={"Description": words.caption(view)})
    return file.getvalue()


def _headline(view: View) -> str:
    status, said = view.status, words.run_words(view)
    run = "run" if view.run else said["run"]
    return (
        f"{status.source}: {status.state}, {numbers.iso(view.now.ns)}\n{run}, {said['run_text']}; "
        f"{said['readouts']} readouts, {said['hits']} {said['hits_name'].lower()}\n{said['holds']}"
    )


def _style(panel: Axes, theme: Theme) -> None:
    panel.set_facecolor(theme.background)
    panel.tick_params(colors=theme.text)
    panel.spines[["top", "right"]].set_visible(False)


def _draw_map(panel: Axes, view: View, theme: Theme) -> None:
    values, title, (low, high) = map_values(view)
    norm = LogNorm(low, high) if view.choice.log else Normalize(low, high)
    image = panel.imshow(values, origin="lower", aspect="equal", cmap="cividis", norm=norm)
    y, x = np.nonzero(view.masked)
    panel.scatter(x, y, marker="x", color=theme.faint)
    panel.set(xlabel="column", ylabel="row")
    panel.figure.colorbar(image, ax=panel, label=title)


def _draw_rates(panel: Axes, view: View, theme: Theme) -> None:
    series = view.series
    # One offset for the whole axis: local time would fold back at the end of summer time.
    zone = datetime.fromtimestamp(view.now.ns / 1e9).astimezone().tzinfo
    times = [
        datetime.fromtimestamp(view.now.ns / 1e9 - (view.now.s - begin_s), zone)
        for begin_s in series.begins_s + series.width_s / 2
    ]
    panel.plot(times, series.readouts, color=theme.readouts, drawstyle="steps-mid", label="readouts")  # type: ignore[arg-type]
    panel.plot(times, series.hits, "--", color=theme.hits, drawstyle="steps-mid", label="hits")  # type: ignore[arg-type]
    losing = np.flatnonzero(series.lost)
    if len(losing) > MAX_LOSS_MARKERS:
        lost = series.lost / series.width_s
        panel.plot(times, lost, ":", color=theme.lost, drawstyle="steps-mid", label="lost/s")  # type: ignore[arg-type]
    else:
        for place in losing:
            panel.axvline(times[place], color=theme.lost, linewidth=1)  # type: ignore[arg-type]
        panel.plot([], [], "^", color=theme.lost, label="lost")
    end = datetime.fromtimestamp(view.now.ns / 1e9, zone)
    panel.set_xlim(min([*times, end - timedelta(minutes=1)]), end)  # type: ignore[arg-type]
    panel.xaxis.set_major_locator(AutoDateLocator(tz=zone, maxticks=7))  # type: ignore[no-untyped-call]
    panel.xaxis.set_major_formatter(DateFormatter("%H:%M:%S", tz=zone))  # type: ignore[no-untyped-call]
    panel.set(xlabel="time of day", ylabel="per second")
    panel.set_ylim(0, max(1.0, panel.get_ylim()[1]))
    panel.legend(loc="lower left", bbox_to_anchor=(0.0, 0.98), ncols=3, frameon=False)


def _draw_tot(panel: Axes, view: View, theme: Theme) -> None:
    panel.stairs(view.tot, view.tot_edges_us, fill=True, color=theme.fill, alpha=0.8)
    if len(view.tot_outline):
        panel.stairs(view.tot_outline, view.tot_edges_us, color=theme.outline)
    panel.set(xlabel="time over threshold [µs]", ylabel="hits")


def _draw_per_readout(panel: Axes, view: View, theme: Theme) -> None:
    panel.bar(np.arange(len(view.per_readout)), view.per_readout, width=0.9, color=theme.fill, alpha=0.8)
    panel.set(xlabel="hits in a readout", ylabel="readouts")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_profiles(panel: Axes, view: View, theme: Theme) -> None:
    panel.stairs(view.rows, color=theme.readouts, label="rows")
    panel.stairs(view.columns, color=theme.hits, linestyle="--", label="columns")
    panel.set(xlabel="row or column", ylabel="half hits")
    panel.legend(frameon=False)


def _draw_problems(panel: Axes, view: View, theme: Theme) -> None:
    shown = shown_problems(view)
    bars = panel.barh(list(shown), list(shown.values()), color=theme.lost)
    panel.bar_label(bars, [f" {numbers.grouped(count)}" for count in shown.values()])
    panel.invert_yaxis()
    panel.set(xlabel="readouts with a decode problem")
    panel.set_xlim(left=0, right=max(10, 1.2 * max(shown.values())))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
