"""The numbers of the parts of the page that are open one at a time, as rows of tables. Pure."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from astropix_stream import numbers
from astropix_stream.monitor.chips import ChipsPanel
from astropix_stream.monitor.correlations import CorrelationsPanel
from astropix_stream.monitor.geometry import chip_value
from astropix_stream.monitor.pixels import PixelPanel
from astropix_stream.monitor.trend import TrendPanel

Rows: TypeAlias = Iterator[Sequence[Any]]


def _chips(panel: ChipsPanel) -> Rows:
    for one in panel.chips:
        yield chip_value(one.chip), one.hits, "" if one.per_s is None else f"{one.per_s:.6g}"


def _chip_maps(panel: ChipsPanel) -> Rows:
    for one in panel.chips:
        for (row, column), hits in np.ndenumerate(one.values):
            yield chip_value(one.chip), column, row, int(hits)


def _pixel_tot(panel: PixelPanel) -> Rows:
    edges = panel.edges_us.tolist()
    for left, right, hits in zip(edges, edges[1:], panel.tot.tolist(), strict=False):
        yield f"{left:.3f}", f"{right:.3f}", hits


def _pixel_history(panel: PixelPanel) -> Rows:
    shown = numbers.iso if panel.timed else str
    times = panel.times.tolist()
    for begin, end, rate in zip(times, times[1:], panel.rates.tolist(), strict=False):
        yield shown(begin), shown(end), f"{rate:.6g}"


def _noise(panel: PixelPanel) -> Rows:
    seconds, chip = panel.noise.seconds, panel.noise.chip
    for (row, column), rate in np.ndenumerate(panel.noise.rates):
        yield (
            "" if chip is None else chip_value(chip),
            column,
            row,
            f"{rate:.6g}",
            "Hz" if seconds else "hits",
        )


def _trend(panel: TrendPanel) -> Rows:
    shown = numbers.iso if panel.timed else str
    for point in panel.points:
        fit = point.fit
        fitted = (
            ()
            if fit is None
            else (fit.peak_us, fit.peak_error_us, fit.width_us, fit.width_error_us, fit.chi2)
        )
        values = (
            point.statistics.mean_us,
            point.statistics.mean_error_us,
            point.statistics.median_us,
            *fitted,
        )
        texts = ["" if np.isnan(value) else f"{value:.5g}" for value in values]
        texts += [""] * (8 - len(texts))
        yield shown(point.begin), shown(point.end), point.statistics.entries, *texts, fit.ndof if fit else ""


def _pairs(name: str) -> Callable[[CorrelationsPanel], Rows]:
    def rows(panel: CorrelationsPanel) -> Rows:
        for (second, first), count in np.ndenumerate(getattr(panel, name)):
            yield first, second, int(count)

    return rows


def _deltas(panel: CorrelationsPanel) -> Rows:
    edges = panel.delta_edges.tolist()
    yield from zip(edges, edges[1:], panel.deltas.tolist(), strict=False)


def _clusters(panel: CorrelationsPanel) -> Rows:
    yield from ((size, count) for size, count in enumerate(panel.clusters.tolist()) if size)


#: By name: the part of the page, the names of the columns, and the rows.
TABLES: dict[str, tuple[str, tuple[str, ...], Callable[[Any], Rows]]] = {
    "chips": ("chips", ("chip", "hits", "hz"), _chips),
    "chip_maps": ("chips", ("chip", "column", "row", "hits"), _chip_maps),
    "pixel_tot": ("pixel", ("tot_from_us", "tot_to_us", "hits"), _pixel_tot),
    "pixel_history": ("pixel", ("from", "to", "rate"), _pixel_history),
    "noise": ("pixel", ("chip", "column", "row", "rate", "unit"), _noise),
    "trend": (
        "spectrum",
        ("from", "to", "entries", "mean_us", "mean_error_us", "median_us", "peak_us", "peak_error_us",
         "width_us", "width_error_us", "chi2", "ndf"),
        _trend,
    ),
    "correlation_columns": ("correlations", ("first", "second", "pairs"), _pairs("columns")),
    "correlation_rows": ("correlations", ("first", "second", "pairs"), _pairs("rows")),
    "coincidence": ("correlations", ("ticks_from", "ticks_to", "pairs"), _deltas),
    "clusters": ("correlations", ("pixels", "clusters"), _clusters),
}  # fmt: skip
