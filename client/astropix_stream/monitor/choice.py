"""What one viewer wants to see, as a browser or a script says it. Pure; nothing wrong gets past it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from astropix_stream.errors import ConfigError
from astropix_stream.monitor.histograms import (
    CHIPS,
    COLUMNS,
    ROWS,
    TOT_BIN_US,
    TOT_BINS,
    Pixel,
)

MAX_MASKED = 1024
MAX_TOT_US = TOT_BINS * TOT_BIN_US


def _pixel(text: Any) -> Any:
    """Read chip/column/row."""
    try:
        chip, column, row = (int(part) for part in text.split("/"))
    except (AttributeError, ValueError):
        raise ValueError(f"{text!r} is not a pixel: write chip/column/row, such as 0/9/3") from None
    if not (0 <= chip < CHIPS and 0 <= column < COLUMNS and 0 <= row < ROWS):
        raise ValueError(f"{text!r}: chip, column and row go from 0 to 31")
    return Pixel(chip, column, row)


def _pixels(value: Any) -> Any:
    """Read pixels from a text with spaces or commas, or from a list of texts."""
    texts = value.replace(",", " ").split() if isinstance(value, str) else value
    return sorted({_pixel(text) for text in texts}) if isinstance(texts, list) else texts


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


Chip = Annotated[int, Field(ge=0, lt=CHIPS)]
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
        None takes all chips together.
    quantity, log
        What the hit map shows, and whether its colours are logarithmic.
    window_min
        Minutes of rates.
    tot_from, tot_to, tot_bins
        Axis of the TOT spectrum in µs.
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
    chip: Annotated[Chip | None, BeforeValidator(_none_if_empty)] = None
    quantity: Literal["hits", "tot"] = "hits"
    log: bool = False
    window_min: Annotated[Literal[1, 10, 60, 1440], BeforeValidator(_whole)] = 10
    tot_from: Annotated[float, Field(ge=0.0, le=MAX_TOT_US)] = 0.0
    tot_to: Annotated[float, Field(ge=0.0, le=MAX_TOT_US)] = 400.0
    tot_bins: Annotated[int, Field(ge=1, le=1000)] = 100
    masked: Annotated[tuple[Pixel, ...], BeforeValidator(_pixels), Field(max_length=MAX_MASKED)] = ()
    frozen: bool = False
    reset: int = 0

    @model_validator(mode="after")
    def _check_range(self) -> "Choice":
        if self.tot_to - self.tot_from < TOT_BIN_US:
            raise ValueError(f"the TOT range ends {TOT_BIN_US} µs or more after it begins")
        return self

    @classmethod
    def read(cls, values: str | Mapping[str, Any]) -> "Choice":
        """Check what came from a browser (JSON) or from a URL's query.

        Raises
        ------
        ConfigError
            One line that says what is wrong.
        """
        try:
            return cls.model_validate_json(values) if isinstance(values, str) else cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "choice"
            raise ConfigError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
