"""The words of the page, for one viewer. Pure; they go to the browser as text, never as HTML."""

import math
from typing import Any

from astropix_stream import numbers
from astropix_stream.clock import Moment
from astropix_stream.monitor import texts
from astropix_stream.monitor.fits import Fit
from astropix_stream.monitor.geometry import chip_name, chip_value
from astropix_stream.monitor.spectra import Statistics
from astropix_stream.monitor.status import StreamStatus
from astropix_stream.monitor.themes import SIGNS
from astropix_stream.monitor.view import View

MAX_MASKED_SHARE = 0.9
"""Of the hits: if the hot pixels have more, masking all of them at once would blank the map."""


def stream_words(status: StreamStatus, now: Moment) -> dict[str, Any]:
    """Return what is said of the stream, also on a frozen page."""
    return {
        "source": status.source,
        "state": status.state,
        "sign": SIGNS[status.state],
        "state_text": status.state_text,
        "time": numbers.clock(now.ns, now.ns),
        "zone": numbers.zone(now.ns),
    }


def run_words(view: View) -> dict[str, Any]:
    """Return what is said of the run that is shown."""
    status, run, account = view.status, view.run, view.account
    return {
        "shown": view.choice.to_json() | {"masked": " ".join(map(str, view.choice.masked))},
        "run": numbers.time_of_day(run.started_ns) if run else "no run yet",
        "run_name": run.name if run else None,
        "run_text": run_text(view),
        "ids": f"ids {numbers.grouped(run.first_id)} to {numbers.grouped(run.last_id)}" if run else "",
        "readouts": numbers.grouped(view.readouts),
        "hits": numbers.grouped(view.hits),
        "hits_name": hits_name(view),
        "hits_rate_name": f"{hits_name(view)}/s",
        "hits_text": hits_text(view),
        "kind": kind_words(view),
        "fpga": fpga_text(view),
        "readouts_per_s": numbers.figure(status.readouts_per_s),
        "hits_per_s": numbers.figure(status.hits_per_s),
        "live_fraction": numbers.percentage(account.live_fraction) if run else "–",
        "since": view.since,
        "whole": not account.lost,
        "holds": texts.holds(
            account,
            since=view.since,
            sources=len(status.daqs),
            relayed=status.relayed,
            at_most=status.ledger.at_most,
            hops=status.ledger.hops,
            thinned=status.ledger.thinned,
        ),
        "caption": caption(view),
        "runs": [{"value": label.name, "text": label.text} for label in status.runs],
        "references": [{"value": label.name, "text": label.text} for label in status.references],
        "chips": [{"value": chip_value(chip), "text": chip_name(chip)} for chip in _chips(view)],
        "compared": compared_text(view),
        "outside": outside_text(view),
        "statistics": statistics_text(view),
        "fit_text": fit_text(view.fit),
        "hot_text": hot_text(view),
        "mask_all": [str(hot.pixel) for hot in view.hot] if may_mask_all(view) else [],
        "hot": [
            {
                "pixel": str(hot.pixel),
                "hits": numbers.grouped(hot.hits),
                "share": numbers.percentage(hot.share),
                "masked": hot.pixel in view.choice.masked,
            }
            for hot in view.hot
        ],
    }


def _chips(view: View) -> list[int]:
    """Return the chips to choose from: those with hits, and the one that is chosen."""
    chosen = () if view.choice.chip is None else (view.choice.chip,)
    return sorted({*view.chips, *chosen})


def kind_words(view: View) -> dict[str, Any]:
    """Return what the page's controls depend on."""
    geometry = view.geometry
    return {
        "name": geometry.kind.name,
        "half_hits": geometry.half_hits,
        "tot_range_us": geometry.tot_range_us,
        "tot_limit_us": geometry.tot_limit_us,
        "pixel": "layer.chip/column/row" if geometry.layers else "chip/column/row",
    }


def hits_name(view: View) -> str:
    """Return what hits are called."""
    return "Half hits" if view.geometry.half_hits else "Hits"


def hits_text(view: View) -> str:
    """Return how many hits a readout has, or pixels that were put together."""
    if view.geometry.half_hits:
        return f"{_counted(view.pixels, 'pixel')}, {numbers.grouped(view.unpaired)} unpaired"
    if not view.geometry.kind.known:
        return f"{view.geometry.kind}: not decoded"
    return f"{view.hits / view.readouts:.2f} per readout" if view.readouts else ""


def fpga_text(view: View) -> str:
    """Return the FPGA's time at the first and the latest hit: in ticks, or in seconds if one is known."""
    if view.fpga is None:
        return ""
    first, last = view.fpga
    tick_ns = getattr(view.geometry.kind.readout_class, "TICK_NS", None)
    if tick_ns is None:
        return f"FPGA time {numbers.grouped(first)} to {numbers.grouped(last)} ticks"
    return f"FPGA time {first * tick_ns / 1e9:.3f} to {last * tick_ns / 1e9:.3f} s"


def run_text(view: View) -> str:
    """Return when the run began, and where from if that matters."""
    run = view.run
    if run is None:
        return "waiting for the first readout"
    if run.first_timestamp:
        first = f"first readout {numbers.clock(run.first_timestamp, view.now.ns)}"
    else:
        first = f"received {numbers.clock(run.began_ns, view.now.ns)}; its readouts have no times"
    return first + (f", from {run.source}" if len(view.status.daqs) > 1 else "")


def caption(view: View) -> str:
    """Return the line that goes under a picture, so that it tells by itself what it shows."""
    run = view.run
    if run is None:
        return f"{view.status.source}, no readout yet"
    chip = "" if view.choice.chip is None else f", {chip_name(view.choice.chip)}"
    masked = (
        f", {numbers.counted(len(view.choice.masked), 'pixel', group=True)} masked"
        if view.choice.masked
        else ""
    )
    return (
        f"{view.status.source}, run of {numbers.clock(run.started_ns, 0)}{chip}{masked}: "
        f"{_counted(view.readouts, 'readout')}, {_counted(view.hits, 'hit')} {view.since}, "
        f"{numbers.percentage(view.account.live_fraction)} live, {numbers.clock(view.now.ns, 0)}"
    )


def summary(view: View) -> str:
    """Return the line for the end."""
    said = run_words(view)
    run = f"run of {numbers.clock(view.run.started_ns, view.now.ns)}" if view.run else said["run"]
    return f"{run}: {said['readouts']} readouts, {said['hits']} hits. {said['holds']}"


def compared_text(view: View) -> str:
    """Return how the other run was made comparable."""
    if view.compared is None:
        return ""
    return f"{view.choice.compare_as}: {view.compared.title_at(view.now.ns)} × {view.scale:.3g}"


def may_mask_all(view: View) -> bool:
    """Tell whether enough is left of the map without its hot pixels; of an injection run, nothing is."""
    return bool(view.hot) and sum(hot.share for hot in view.hot) <= MAX_MASKED_SHARE


def hot_text(view: View) -> str:
    """Return what there is to say of the hot pixels beside their list."""
    if not view.hot:
        return "No hot pixels."
    if may_mask_all(view):
        return ""
    share = numbers.percentage(sum(hot.share for hot in view.hot))
    return f"These have {share} of the hits, as in an injection run: mask them one by one."


def outside_text(view: View) -> str:
    """Return how many hits the TOT axis leaves out."""
    return f"{numbers.counted(view.tot_outside, 'hit', group=True)} out of range" if view.tot_outside else ""


def statistics_text(view: View) -> str:
    """Return the numbers of the TOT spectrum, of what its axis shows."""
    return numbers_of(view.tot_statistics)


def numbers_of(statistics: Statistics) -> str:
    """Return entries, mean, RMS and median of a spectrum."""
    if not statistics.entries:
        return "no entries"
    entries = "1 entry" if statistics.entries == 1 else f"{numbers.grouped(statistics.entries)} entries"
    return (
        f"{entries}, mean {statistics.mean_us:.2f} µs, RMS {statistics.rms_us:.2f} µs, "
        f"median {statistics.median_us:.2f} µs"
    )


def fit_text(fit: Fit | None) -> str:
    """Return what a fit gave, with its errors and χ²; or why it gave nothing."""
    if fit is None:
        return ""
    name = {"gaussian": "Gaussian", "moyal": "Moyal"}[fit.model]
    where = f"{name}, {fit.from_us:.4g} to {fit.to_us:.4g} µs"
    if not fit.found:
        return f"{where}: {fit.problem}"
    text = (
        f"{where}: peak {_measured(fit.peak_us, fit.peak_error_us)} µs, "
        f"{'σ' if fit.model == 'gaussian' else 'width'} {_measured(fit.width_us, fit.width_error_us)} µs, "
        f"{_measured(fit.entries, fit.entries_error)} entries, χ²/ndf {fit.chi2:.1f}/{fit.ndof}"
    )
    return f"{text}; {fit.problem}" if fit.problem else text


def _measured(value: float, error: float) -> str:
    """Return a value and its error, to two digits of the error."""
    if not (math.isfinite(error) and error > 0):
        return f"{value:.4g}"
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{places}f} ± {error:.{places}f}"


def _counted(count: int, thing: str) -> str:
    return numbers.counted(count, thing, group=True)
