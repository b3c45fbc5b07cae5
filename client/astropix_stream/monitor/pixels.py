"""A pixel by itself; which pixels are noisy, and masks for the configuration of chips. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import yaml
from numpy.typing import NDArray

from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.geometry import TOT_BINS, Geometry, Pixel, chip_value
from astropix_stream.monitor.maps import extent
from astropix_stream.monitor.shown import Shown
from astropix_stream.monitor.spectra import Statistics, axis_of, rebinned, statistics

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

MAX_LISTED = 12
_MAD_TO_SIGMA = 1.4826  # of a Gaussian
_BINS = 40  # of the distribution of rates


class NoisyPixel(NamedTuple):
    """A pixel above the threshold."""

    pixel: Pixel
    hits: int
    hz: float | None
    """None where readouts have no times."""
    sigma: float
    """Standard deviations above the median of its chip."""


@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """The rates of all pixels.

    Attributes
    ----------
    chip
        Whose map it is; None before the first hit.
    seconds
        How long it was measured; None where readouts have no times, and rates are hits.
    rates
        By row and column: Hz, or hits.
    edges, pixels
        Pixels of the shown chips by their rate, in logarithmic bins; those without hits are left out.
    silent
        Pixels of the shown chips without hits.
    noisy
        Those above the threshold, of the shown chips, those with most hits first.
    problem
        Why the threshold finds nothing, if it cannot; empty otherwise.
    """

    chip: int | None
    seconds: float | None
    rates: Floats
    edges: Floats
    pixels: Ints
    silent: int
    noisy: tuple[NoisyPixel, ...]
    problem: str


@dataclass(frozen=True, slots=True, eq=False)
class PixelPanel:
    """A pixel, and the noise of all.

    Attributes
    ----------
    pixel
        The one that was chosen, or else the one with most hits; None before the first hit.
    chosen
        Whether it was chosen.
    hits, share
        Its number of hits, and their part of those of its chip.
    hz
        Its rate over all of the time; None where readouts have no times.
    edges_us, tot
        Its spectrum, within the TOT range of the page; the bins are wider for a pixel that was first hit
        when more pixels than have a fine spectrum had been.
    statistics
        Numbers of that spectrum.
    times, rates
        Its history over the run: where each slice begins and ends (ns since the Unix epoch, or readout ids
        where there are no times), and hits per second, or per readout.
    timed
        Whether these are times.
    noise
        Of all pixels.
    """

    pixel: Pixel | None
    chosen: bool
    hits: int
    share: float
    hz: float | None
    edges_us: Floats
    tot: Ints
    statistics: Statistics
    times: Ints
    rates: Floats
    timed: bool
    noise: Noise


def make(shown: Shown, accumulator: Accumulator) -> PixelPanel:
    """Work out what there is of a pixel, and of the noise."""
    del accumulator
    hit_map = shown.counts.hit_map
    pixel = shown.choice.pixel or _busiest(hit_map, shown.geometry, shown.chips)
    hits = int(hit_map[pixel.chip, pixel.row, pixel.column]) if pixel else 0
    of_chip = int(hit_map[pixel.chip].sum()) if pixel else 0
    edges, tot, numbers = _spectrum(shown, pixel)
    times, rates, timed = _history(shown, pixel)
    return PixelPanel(
        pixel=pixel,
        chosen=shown.choice.pixel is not None,
        hits=hits,
        share=hits / of_chip if of_chip else 0.0,
        hz=hits / shown.seconds if shown.seconds else None,
        edges_us=edges,
        tot=tot,
        statistics=numbers,
        times=times,
        rates=rates,
        timed=timed,
        noise=find_noise(shown, pixel),
    )


def _busiest(hit_map: Ints, geometry: Geometry, chips: Sequence[int]) -> Pixel | None:
    if not chips:
        return None
    part = hit_map[list(chips)]
    place, row, column = np.unravel_index(int(part.argmax()), part.shape)
    pixel = Pixel(chips[int(place)], int(column), int(row))
    return pixel if part.max() and geometry.contains(pixel) else None


def _spectrum(shown: Shown, pixel: Pixel | None) -> tuple[Floats, Ints, Statistics]:
    edges, bins = axis_of(shown.choice, shown.geometry)
    if pixel is None:
        return edges, np.zeros(len(edges) - 1, np.int64), statistics(np.zeros(1, np.int64), 0, 1, 1.0)
    found = shown.counts.pixel_spectrum(pixel)
    step = TOT_BINS // found.bins
    bin_us = shown.geometry.bin_us * step
    bins = np.unique(np.append(bins[:-1] // step, -(-bins[-1] // step)))
    numbers = statistics(found.counts, int(bins[0]), int(bins[-1]), bin_us)
    edges = bins.astype(np.float64) * bin_us
    return edges, rebinned(found.counts, bins), numbers


def _history(shown: Shown, pixel: Pixel | None) -> tuple[Ints, Floats, bool]:
    """Return the course of a pixel's rate; since a reset, the slices that ended after it."""
    run = shown.run
    if run is None or pixel is None:
        return np.zeros(0, np.int64), np.zeros(0), True
    slices = shown.slices()
    if len(slices) > 1 and slices[-1].end - slices[-1].begin < (slices[-2].end - slices[-2].begin) // 2:
        slices.pop()  # just begun: its rate would jump about
    number = shown.geometry.number_of(pixel)
    counts = np.array([one.pixels.at(number) for one in slices], np.float64)
    lengths = np.array([max(1, one.end - one.begin) for one in slices], np.float64)
    times = np.array([one.begin for one in slices] + [one.end for one in slices[-1:]], np.int64)
    timed = run.slices.timed
    return times, counts / lengths * (1e9 if timed else 1.0), timed


def find_noise(shown: Shown, pixel: Pixel | None = None) -> Noise:
    """Find the pixels above the threshold that the viewer chose."""
    geometry, choice, seconds = shown.geometry, shown.choice, shown.seconds
    hit_map = shown.counts.hit_map
    rows, columns = extent(hit_map, geometry)
    chips = list(shown.chips)
    hits = hit_map[chips][:, :rows, :columns]
    sigmas = np.array([_sigmas(one) for one in hits]).reshape(hits.shape)
    problem = ""
    if choice.noise_in == "sigma":
        above = (sigmas > choice.noise_above) & (hits > 0)
    elif seconds:
        above = (hits / seconds > choice.noise_above) & (hits > 0)
    else:
        above, problem = np.zeros(hits.shape, bool), "these readouts have no times: choose a threshold in σ"
    noisy = [
        NoisyPixel(
            Pixel(chips[place], column, row),
            int(hits[place, row, column]),
            float(hits[place, row, column]) / seconds if seconds else None,
            float(sigmas[place, row, column]),
        )
        for place, row, column in np.argwhere(above).tolist()
    ]
    chip = chips[0] if len(chips) == 1 else (pixel.chip if pixel else None)
    rates = hits / seconds if seconds else hits.astype(np.float64)
    edges, pixels = _distribution(rates)
    shown_rates = rates[chips.index(chip)] if chip in chips else np.zeros((rows, columns))
    return Noise(
        chip=chip,
        seconds=seconds,
        rates=shown_rates,
        edges=edges,
        pixels=pixels,
        silent=int(np.count_nonzero(hits == 0)),
        noisy=tuple(sorted(noisy, key=lambda one: -one.hits)),
        problem=problem,
    )


def _sigmas(hits: Ints) -> Floats:
    """Return how many standard deviations pixels are above the median of their chip.

    The standard deviation is that of the counts around the median, told by their median distance from it, so
    that noisy pixels do not widen it; and not less than that of a Poisson count.
    """
    median = float(np.median(hits))
    spread = max(_MAD_TO_SIGMA * float(np.median(np.abs(hits - median))), median**0.5, 1.0)
    values: Floats = (hits - median) / spread
    return values


def _distribution(rates: Floats) -> tuple[Floats, Ints]:
    found = rates[rates > 0]
    if not len(found):
        return np.array([1.0, 10.0]), np.zeros(1, np.int64)
    low, high = np.floor(np.log10(found.min())), np.ceil(np.log10(found.max()) + 1e-9)
    edges: Floats = np.logspace(low, max(high, low + 1), _BINS + 1)
    edges[-1] = max(edges[-1], float(found.max()))
    return edges, np.histogram(found, edges)[0]


def mask_document(
    noise: Noise, masked: Iterable[Pixel], head: Iterable[tuple[str, Any]], chip: int | None
) -> str:
    """Return the noisy pixels and those masked by hand as YAML: lists of [column, row].

    Parameters
    ----------
    noise
        With the noisy pixels.
    masked
        Those that the viewer masked.
    head
        What it is of: names and values, for comments.
    chip
        If one was chosen, the document is its list; else it has the list of each chip, by the chip's name.
    """
    pixels = sorted({one.pixel for one in noise.noisy} | set(masked))
    lists: dict[Any, list[list[int]]] = {}
    for pixel in pixels:
        lists.setdefault(chip_value(pixel.chip), []).append([pixel.column, pixel.row])
    comments = "".join(f"# {name}: {' '.join(str(value).split())}\n" for name, value in head)
    document: Any = lists if chip is None else lists.get(chip_value(chip), [])
    return (
        comments
        + "# each pixel as [column, row]\n"
        + yaml.safe_dump(document, default_flow_style=None, sort_keys=False)
    )
