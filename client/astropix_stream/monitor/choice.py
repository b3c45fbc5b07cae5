"""What one viewer wants to see, as a browser or a script says it. Pure; nothing wrong gets past it."""

import math
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

from astropix_stream.errors import ConfigError
from astropix_stream.monitor.geometry import DEFAULT, Geometry, Pixel, chip_value

MAX_MASKED = 1024
MAX_TOT_BINS = 1000
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


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


Number = Annotated[int | None, BeforeValidator(_none_if_empty)]


class Choice(BaseModel):
    """What to show.

    Attributes
    ----------
    run
        Number of a run; None follows the present one.
    compare
        Number of a run to draw as an outline over it.
    chip
        As a number of `geometry`; None takes all chips together.
    quantity, log
        What the hit map shows, and whether its colours are logarithmic.
    window_min
        Minutes of rates.
    tot_from, tot_to, tot_bins
        Axis of the TOT spectrum in µs; without an end, as far as the kind of readouts has it at first.
    tot_of
        Of what the TOT spectrum is, where a pixel is two half hits.
    masked
        Pixels left out of the view.
    frozen
        Whether the view stands still.
    reset
        Changes with each reset; 0 shows the run as a whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Number = None
    compare: Number = None
    chip: Annotated[int | None, BeforeValidator(_chip)] = None
    quantity: Literal["hits", "tot", "median"] = "hits"
    log: bool = False
    window_min: Annotated[Literal[1, 10, 60, 1440], BeforeValidator(_whole)] = 10
    tot_from: Annotated[float, Field(ge=0.0, le=MAX_TOT_US)] = 0.0
    tot_to: Annotated[float | None, Field(ge=0.0, le=MAX_TOT_US), BeforeValidator(_none_if_empty)] = None
    tot_of: Literal["pixels", "halves"] = "pixels"
    tot_bins: Annotated[int, Field(ge=1, le=MAX_TOT_BINS)] = 100
    masked: Annotated[tuple[Pixel, ...], BeforeValidator(_pixels), Field(max_length=MAX_MASKED)] = ()
    frozen: bool = False
    reset: int = 0

    @model_validator(mode="after")
    def _check_range(self) -> "Choice":
        if self.tot_to is not None and self.tot_to <= self.tot_from:
            raise ValueError("the TOT range ends after it begins")
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the choice as `read` takes it, chips and pixels as a person writes them."""
        chip = None if self.chip is None else chip_value(self.chip)
        return self.model_dump(mode="json") | {"chip": chip, "masked": [str(pixel) for pixel in self.masked]}

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
            raise ConfigError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None

    @classmethod
    def read_each(
        cls, values: Mapping[str, Any], geometry: Geometry = DEFAULT, before: "Choice | None" = None
    ) -> tuple["Choice", dict[str, str]]:
        """Check each field on its own: a wrong one keeps what it had, and does not hold up the others.

        Numbers that are too large or too small become the nearest that can be shown.

        Parameters
        ----------
        values
            As texts, or as JSON.
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
        return choice, refused


def _nearest(name: str, value: Any, geometry: Geometry) -> tuple[Any, str]:
    """Return what of a field's value can be shown, and what was wrong with the rest."""
    if name == "masked" and isinstance(value, str):
        return _readable_pixels(value, geometry)
    limits = {
        "tot_from": (0.0, geometry.tot_limit_us - geometry.bin_us),
        "tot_to": (geometry.bin_us, geometry.tot_limit_us),
        "tot_bins": (1, MAX_TOT_BINS),
    }.get(name)
    if limits is None:
        return value, ""
    if value == "":
        return Choice.model_fields[name].default, ""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError("write a number") from None
    if math.isnan(number):
        raise ConfigError("write a number")
    if name == "tot_bins" and math.isfinite(number):
        number = int(number)
    low, high = limits
    if low <= number <= high:
        return number, ""
    nearest = min(max(number, low), high)
    return nearest, f"{number:.6g} is out of range: {low:g} to {high:g}"


def _readable_pixels(text: str, geometry: Geometry) -> tuple[str, str]:
    """Return the pixels of a text that can be read, and what is wrong with the first other one."""
    good, said = [], ""
    for part in text.replace(",", " ").split():
        try:
            geometry.read_pixel(part)
            good.append(part)
        except ValueError as error:
            said = said or str(error)
    return " ".join(good), said
