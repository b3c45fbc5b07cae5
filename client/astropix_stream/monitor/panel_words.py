"""The words of the parts of the page that are open one at a time. Pure; they go to the browser as text."""

from functools import singledispatch
from typing import Any

from astropix_stream import numbers
from astropix_stream.monitor.chips import ChipsPanel
from astropix_stream.monitor.correlations import CorrelationsPanel
from astropix_stream.monitor.events import EventsPanel
from astropix_stream.monitor.geometry import chip_name, chip_value
from astropix_stream.monitor.pixels import MAX_LISTED, NoisyPixel, PixelPanel
from astropix_stream.monitor.trend import TrendPanel
from astropix_stream.monitor.view import View
from astropix_stream.monitor.words import numbers_of


@singledispatch
def _words(panel: Any, view: View) -> dict[str, Any]:
    return {}


def panel_words(view: View) -> dict[str, Any]:
    """Return what is said in the open part of the page, beside its plots."""
    return _words(view.panel, view)


@_words.register
def _chips(panel: ChipsPanel, view: View) -> dict[str, Any]:
    thing = "half hits" if panel.halves else "hits" if not view.geometry.half_hits else "pixels"
    return {
        "chips_unit": f"{thing}, rate {'over 5 s' if panel.live else 'over the run'}",
        "all_chips": [
            {
                "chip": chip_value(one.chip),
                "name": chip_name(one.chip),
                "hits": numbers.grouped(one.hits),
                "share": numbers.percentage(one.share),
                "rate": per_second(one.per_s),
            }
            for one in panel.chips
        ],
    }


def per_second(value: float | None) -> str:
    """Return a rate for people: three digits, also of one that is far below 1 Hz."""
    if value is None:
        return "–"
    if value and value < 0.995:
        return f"{value:.2g} Hz"
    return f"{numbers.figure(value)} Hz"


@_words.register
def _pixel(panel: PixelPanel, view: View) -> dict[str, Any]:
    noise = panel.noise
    pixel = str(panel.pixel) if panel.pixel else ""
    said = ""
    if panel.pixel is not None:
        rate = f", {per_second(panel.hz)}" if panel.hz is not None else ""
        hits = numbers.counted(panel.hits, "hit", group=True)
        said = f"{hits}{rate}, {numbers.percentage(panel.share)} of its chip;"
    return {
        "pixel_name": (pixel + ":" if panel.chosen else f"{pixel}, the busiest:") if pixel else "no hit yet",
        "pixel_text": said,
        "pixel_statistics": numbers_of(panel.statistics) if panel.pixel else "",
        "noise_text": _noise_text(panel, view),
        "noise_chip": "" if noise.chip is None else chip_name(noise.chip),
        "noisy": [_noisy(one, view) for one in noise.noisy[:MAX_LISTED]],
    }


def _noise_text(panel: PixelPanel, view: View) -> str:
    noise, choice = panel.noise, view.choice
    if noise.problem:
        return noise.problem
    unit = "σ above the median of their chip" if choice.noise_in == "sigma" else "Hz"
    count = len(noise.noisy)
    text = f"{numbers.counted(count, 'pixel', group=True)} above {choice.noise_above:g} {unit}"
    more = f"; the {MAX_LISTED} with most hits are listed" if count > MAX_LISTED else ""
    return f"{text}, {numbers.grouped(noise.silent)} without hits{more}"


def _noisy(one: NoisyPixel, view: View) -> dict[str, Any]:
    return {
        "pixel": str(one.pixel),
        "hits": numbers.grouped(one.hits),
        "rate": per_second(one.hz),
        "sigma": f"{one.sigma:.1f}",
        "masked": one.pixel in view.choice.masked,
    }


@_words.register
def _trend(panel: TrendPanel, view: View) -> dict[str, Any]:
    if not panel.points:
        return {"trend_text": "the first point comes after a second of the run"}
    masked = ", masked ones included" if view.choice.masked else ""
    return {"trend_text": f"of pixels{masked}; within the range of the TOT spectrum"}


@_words.register
def _correlations(panel: CorrelationsPanel, view: View) -> dict[str, Any]:
    of = f"the latest {numbers.counted(panel.readouts, 'readout', group=True)} of the run"
    if panel.first is None or panel.second is None:
        return {"correlations_text": f"No two chips have hits. Clusters of {of}."}
    chips = f"{chip_name(panel.first)} and {chip_name(panel.second)}"
    pairs = numbers.counted(panel.pairs, "pair", group=True)
    return {"correlations_text": f"{pairs} of hits of {chips} in {of}."}


@_words.register
def _events(panel: EventsPanel, view: View) -> dict[str, Any]:
    shown = panel.shown
    words: dict[str, Any] = {
        "listed": [
            {
                "id": one.readout_id,
                "time": one.time,
                "hits": numbers.grouped(one.hits),
                "size": numbers.grouped(one.size),
                "problems": one.problems,
            }
            for one in panel.listed
        ],
        "readout_said": panel.said,
        "dissected": None,
    }
    if shown is not None:
        words["dissected"] = {
            "id": shown.readout_id,
            "head": f"readout {numbers.grouped(shown.readout_id)}, "
            f"{numbers.counted(shown.size, 'byte', group=True)}, {shown.head}",
            "pieces": [piece._asdict() for piece in shown.pieces],
            "rest": f"and {numbers.counted(shown.rest, 'byte', group=True)} more" if shown.rest else "",
            "hits": list(shown.hits),
            "problems": list(shown.problems),
        }
    return words
