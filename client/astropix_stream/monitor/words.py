"""The words of the page, for one viewer. Pure; they go to the browser as text, never as HTML."""

from typing import Any

from astropix_stream import numbers
from astropix_stream.monitor import texts
from astropix_stream.monitor.geometry import chip_name, chip_value
from astropix_stream.monitor.themes import SIGNS
from astropix_stream.monitor.view import View

MAX_MASKED_SHARE = 0.9
"""Of the hits: if the hot pixels have more, masking all of them at once would blank the map."""


def stream_words(view: View) -> dict[str, Any]:
    """Return what is said of the stream, also on a frozen page."""
    status = view.status
    return {
        "source": status.source,
        "state": status.state,
        "sign": SIGNS[status.state],
        "state_text": status.state_text,
        "time": numbers.clock(view.now.ns, view.now.ns),
        "zone": numbers.zone(view.now.ns),
    }


def run_words(view: View) -> dict[str, Any]:
    """Return what is said of the run that is shown."""
    status, run, account = view.status, view.run, view.account
    return {
        "shown": view.choice.to_json() | {"masked": " ".join(map(str, view.choice.masked))},
        "run": f"run {run.number}" if run else "no run yet",
        "run_number": run.number if run else None,
        "run_text": run_text(view),
        "ids": f"ids {numbers.grouped(run.first_id)} to {numbers.grouped(run.last_id)}" if run else "",
        "readouts": numbers.grouped(view.readouts),
        "hits": numbers.grouped(view.hits),
        "hits_name": hits_name(view),
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
        "runs": [{"value": label.number, "text": label.text} for label in status.runs],
        "chips": [{"value": chip_value(chip), "text": chip_name(chip)} for chip in _chips(view)],
        "compared": compared_text(view),
        "outside": outside_text(view),
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
    return f"{view.hits / view.readouts:.2f} a readout" if view.readouts else ""


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
    first = f"first readout {numbers.clock(run.first_timestamp, view.now.ns)}"
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
        f"{view.status.source}, run {run.number} of {numbers.clock(run.first_timestamp, 0)}{chip}{masked}: "
        f"{_counted(view.readouts, 'readout')}, {_counted(view.hits, 'hit')} {view.since}, "
        f"{numbers.percentage(view.account.live_fraction)} live, {numbers.clock(view.now.ns, 0)}"
    )


def summary(view: View) -> str:
    """Return the line for the end."""
    said = run_words(view)
    return f"{said['run']}: {said['readouts']} readouts, {said['hits']} hits. {said['holds']}"


def compared_text(view: View) -> str:
    """Return how the outline was made comparable."""
    if view.compared is None:
        return ""
    return f"outline: run {view.compared.number} × {view.scale:.3g}"


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
    return f"{numbers.counted(view.tot_outside, 'hit', group=True)} outside" if view.tot_outside else ""


def _counted(count: int, thing: str) -> str:
    return numbers.counted(count, thing, group=True)
