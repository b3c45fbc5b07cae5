"""What one viewer wants to see, as a browser or a script says it. Pure; nothing wrong gets past it."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from astropix_stream.checking.mistakes import describe
from astropix_stream.errors import ConfigError
from astropix_stream.monitor.geometry import DEFAULT, Geometry, Pixel, chip_value

MAX_MASKED = 1024
MAX_TOT_BINS = 1000
MAX_NOISE = 1e9
MAX_TOT_US = 100_000.0  # a number; which bins there are depends on the kind


def _geometry(info: ValidationInfo) -> Geometry:
    geometry: Geometry = (info.context or {}).get("geometry", DEFAULT)
    return geometry


def _chip(value: Any, info: ValidationInfo) -> int | None:
    return None if value is None or value == "" else _geometry(info).read_chip(value)


def _pixels(value: Any, info: ValidationInfo) -> Any:
    """Read pixels from a text with spaces or commas, or from a list of texts."""
    texts = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(texts, list):
        return texts
    return sorted({_geometry(info).read_pixel(text) for text in texts})


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


def _overview_if_empty(value: Any) -> Any:
    return "overview" if value == "" else value


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


_RUN = re.compile(r"\d{1,9}|\d{8}T\d{6}(\.\d{3})?Z|\d+ns|reference(-\d{1,3})?", re.ASCII)


def _run(value: Any) -> int | str | None:
    """Read a run: the time of its first readout, or its number on this page."""
    if value is None or value == "":
        return None
    text = str(value)
    if isinstance(value, bool) or not _RUN.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a run: write the time of its first readout, in UTC, "
                         "such as 20250723T120211.123Z")  # fmt: skip
    return int(text) if text.isdecimal() else text


def _pixel(value: Any, info: ValidationInfo) -> Pixel | None:
    return None if value is None or value == "" else _geometry(info).read_pixel(value)


Number = Annotated[int | None, BeforeValidator(_none_if_empty)]
RunName = Annotated[int | str | None, BeforeValidator(_run)]
Chip = Annotated[int | None, BeforeValidator(_chip)]
Us = Annotated[float | None, Field(ge=0.0, le=MAX_TOT_US), BeforeValidator(_none_if_empty)]


class Choice(BaseModel):
    """What to show.

    Attributes
    ----------
    panel
        Which part of the page is open; what the others show is not worked out.
    run
        Name of a run (`runs.run_name`), or its number on this page; None follows the present one.
    compare, compare_as
        The run to compare with, or a file given as reference; and how.
    chip
        As a number of `geometry`; None takes all chips together.
    quantity, log
        What the hit map shows, and whether its colours are logarithmic.
    window_min
        Minutes of rates.
    tot_from, tot_to, tot_bins
        Axis of the TOT spectrum in µs; without an end, as far as the kind of readouts has it at first.
    tot_of, maps_of
        Of what the TOT spectrum is, and the maps of all chips, where a pixel is two half hits.
    tot_log
        Whether the counts of TOT spectra have a logarithmic axis.
    fit, fit_from, fit_to
        What to fit to the TOT spectrum, and from where to where, in µs; without one, as far as its axis goes.
    pixel
        The pixel to look at.
    noise_above, noise_in
        From which rate on a pixel is noisy: in Hz, or in standard deviations above the median of its chip.
    other_chip
        The second chip of correlations; the first one is `chip`.
    readout, troubled
        The id of a readout to look at; whether only readouts with decode problems are listed.
    masked
        Pixels left out of the view.
    frozen
        Whether the view stands still.
    reset
        Changes with each reset; 0 shows the run as a whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    panel: Annotated[
        Literal["overview", "chips", "pixel", "spectrum", "correlations", "readouts"],
        BeforeValidator(_overview_if_empty),
    ] = "overview"
    run: RunName = None
    compare: RunName = None
    compare_as: Literal["overlay", "ratio", "difference"] = "overlay"
    chip: Chip = None
    quantity: Literal["hits", "tot", "median"] = "hits"
    log: bool = False
    window_min: Annotated[Literal[1, 10, 60, 1440], BeforeValidator(_whole)] = 10
    tot_from: Annotated[float, Field(ge=0.0, le=MAX_TOT_US)] = 0.0
    tot_to: Us = None
    tot_of: Literal["pixels", "halves"] = "pixels"
    maps_of: Literal["pixels", "halves"] = "pixels"
    tot_log: bool = False
    fit: Literal["none", "gaussian", "moyal"] = "none"
    fit_from: Us = None
    fit_to: Us = None
    pixel: Annotated[Pixel | None, BeforeValidator(_pixel)] = None
    noise_above: Annotated[float, Field(ge=0.0, le=MAX_NOISE)] = 5.0
    noise_in: Literal["sigma", "hz"] = "sigma"
    other_chip: Chip = None
    readout: Annotated[int | None, Field(ge=0, lt=1 << 32), BeforeValidator(_none_if_empty)] = None
    troubled: bool = False
    tot_bins: Annotated[int, Field(ge=1, le=MAX_TOT_BINS)] = 100
    masked: Annotated[tuple[Pixel, ...], BeforeValidator(_pixels), Field(max_length=MAX_MASKED)] = ()
    frozen: bool = False
    reset: int = 0

    @model_validator(mode="after")
    def _check_range(self) -> "Choice":
        if self.tot_to is not None and self.tot_to <= self.tot_from:
            raise ValueError("the TOT range must end after it begins")
        if None not in (self.fit_from, self.fit_to) and self.fit_to <= self.fit_from:  # type: ignore[operator]
            raise ValueError("the range of the fit must end after it begins")
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the choice as `read` takes it, chips and pixels as a person writes them."""
        chips = {name: getattr(self, name) for name in ("chip", "other_chip")}
        return (
            self.model_dump(mode="json")
            | {name: None if chip is None else chip_value(chip) for name, chip in chips.items()}
            | {"masked": [str(pixel) for pixel in self.masked]}
            | {"pixel": None if self.pixel is None else str(self.pixel)}
        )

    @classmethod
    def read(cls, values: str | Mapping[str, Any], geometry: Geometry = DEFAULT) -> "Choice":
        """Check what came from a browser (JSON) or from a URL's query.

        Parameters
        ----------
        values
            As texts, or as JSON.
        geometry
            Which chips and pixels there are.

        Raises
        ------
        ConfigError
            One line that says what is wrong.
        """
        try:
            context = {"geometry": geometry}
            if isinstance(values, str):
                return cls.model_validate_json(values, context=context)
            return cls.model_validate(values, context=context)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "choice"
            raise ConfigError(f"{where}: {describe(first)}") from None

    @classmethod
    def read_each(
        cls, values: Mapping[str, Any], geometry: Geometry = DEFAULT, before: "Choice | None" = None
    ) -> tuple["Choice", dict[str, str]]:
        """Check each field on its own: a wrong one keeps what it had, and does not hold up the others.

        Numbers that are too large or too small become the nearest that can be shown.

        Parameters
        ----------
        values
            As texts, or as JSON; of an empty text, a field has what a fresh page shows.
        geometry
            Which chips and pixels there are.
        before
            What fields keep that cannot be read; by default what a fresh page shows.

        Returns
        -------
            The choice, and for each field that was refused or changed, what is wrong with it.
        """
        before = cls() if before is None else before
        good: dict[str, Any] = {}
        refused: dict[str, str] = {}
        for name, value in values.items():
            if name not in cls.model_fields:
                refused[name] = "there is no such setting"
                continue
            if value == "":  # left empty: what a fresh page shows
                good[name] = cls.model_fields[name].default
                continue
            try:
                shown, said = _nearest(name, value, geometry)
                good[name] = getattr(cls.read({name: shown}, geometry), name)
                if said:
                    refused[name] = said
            except ConfigError as error:
                good[name] = getattr(before, name)
                refused[name] = str(error).removeprefix(f"{name}: ")
        choice = cls().model_copy(update=good)
        if choice.tot_to is not None and choice.tot_to <= choice.tot_from:
            refused["tot_to"] = "the TOT range must end after it begins"
            choice = choice.model_copy(update={"tot_from": before.tot_from, "tot_to": before.tot_to})
        if choice.fit_from is not None and choice.fit_to is not None and choice.fit_to <= choice.fit_from:
            refused["fit_to"] = "the range of the fit must end after it begins"
            choice = choice.model_copy(update={"fit_from": before.fit_from, "fit_to": before.fit_to})
        return choice, refused


def _nearest(name: str, value: Any, geometry: Geometry) -> tuple[Any, str]:
    """Return what of a field's value can be shown, and what was wrong with the rest."""
    if name == "masked" and isinstance(value, str):
        return _readable_pixels(value, geometry)
    limits = {
        "tot_from": (0.0, geometry.tot_limit_us - geometry.bin_us),
        "tot_to": (geometry.bin_us, geometry.tot_limit_us),
        "tot_bins": (1.0, float(MAX_TOT_BINS)),
        "fit_from": (0.0, geometry.tot_limit_us - geometry.bin_us),
        "fit_to": (geometry.bin_us, geometry.tot_limit_us),
        "noise_above": (0.0, MAX_NOISE),
        "readout": (0.0, (1 << 32) - 1.0),
    }.get(name)
    if limits is None:
        return value, ""
    if value is None and Choice.model_fields[name].default is None:
        return None, ""
    number, (low, high) = _number(value), limits
    nearest = min(max(number, low), high)
    said = "" if nearest == number else f"{number:.6g} is out of range: {low:g} to {high:.10g}"
    if name in ("tot_bins", "readout"):
        said = said or ("" if nearest.is_integer() else f"{number:.6g} is not a whole number")
        nearest = int(nearest)
    return nearest, said


def _number(value: Any) -> float:
    """Read a number, without the underscores and the digits of other scripts that Python takes."""
    try:
        if isinstance(value, str) and not (value.isascii() and "_" not in value):
            raise ValueError(value)
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError("write a number") from None
    if math.isnan(number):
        raise ConfigError("write a number")
    return number


def _readable_pixels(text: str, geometry: Geometry) -> tuple[str, str]:
    """Return the pixels of a text that can be read, and what is wrong with the first other one.

    Raises
    ------
    ConfigError
        None of it can be read.
    """
    good, said = [], ""
    for part in text.replace(",", " ").split():
        try:
            geometry.read_pixel(part)
            good.append(part)
        except ValueError as error:
            said = said or str(error)
    if said and not good:
        raise ConfigError(said)
    return " ".join(good), said
