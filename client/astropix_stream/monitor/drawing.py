"""What a redraw changes in the browser, worked out and encoded once for all who see the same. Pure.

A figure's models have names; a redraw gives new values of some of their attributes, as JSON. So it is one
message for each viewer, and holds only what that browser does not have yet; assets/drawing.js has the other
end. Bokeh's own way, a message for each attribute and each array of each viewer, took three times the CPU.
"""

import base64
import json
from typing import Any, TypeAlias

import numpy as np

Changes: TypeAlias = dict[str, dict[str, Any]]
"""By the name of a model, the values of its attributes."""


def columns(**values: Any) -> dict[str, Any]:
    """Return what a source of data gets: columns of numbers, texts, or images, all of one length."""
    return {"data": values}


def model(name: str) -> dict[str, Any]:
    """Return what stands for a model, as the value of an attribute."""
    return {"model": name}


def limits(start: float, end: float) -> dict[str, Any]:
    """Return what an axis gets, and its reset goes back to; where a person has zoomed, the zoom stays."""
    return {"limits": [float(start), float(end)]}


def encoded(values: dict[str, Any]) -> dict[str, str]:
    """Return each value as JSON."""
    return {name: json.dumps(value, default=_encode, allow_nan=False) for name, value in values.items()}


def joined(encoded_values: dict[str, str]) -> str:
    """Return values that are encoded already as one JSON object."""
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in encoded_values.items()) + "}"


def _encode(value: Any) -> Any:
    """Encode an array as the bytes of its numbers; JSON knows neither arrays of such nor NaN."""
    if isinstance(value, np.ndarray):
        raw = base64.b64encode(value.astype("<f8", copy=False).tobytes()).decode("ascii")
        return {"f8": raw} if value.ndim == 1 else {"f8": raw, "shape": value.shape}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in a drawing")
