"""What one viewer wants to see, as a browser or a script says it. Pure; nothing wrong gets past it."""

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
    quantity: Literal["hits", "tot"] = "hits"
    log: bool = False
    window_min: Annotated[Literal[1, 10, 60, 1440], BeforeValidator(_whole)] = 10
    tot_from: Annotated[float, Field(ge=0.0, le=MAX_TOT_US)] = 0.0
    tot_to: Annotated[float | None, Field(ge=0.0, le=MAX_TOT_US), BeforeValidator(_none_if_empty)] = None
    tot_of: Literal["pixels", "halves"] = "pixels"
    tot_bins: Annotated[int, Field(ge=1, le=1000)] = 100
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
