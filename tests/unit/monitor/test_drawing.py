"""Redraws as JSON."""

import base64
import json

import numpy as np
import pytest

from astropix_stream.monitor import drawing


def sent(value):
    """What a browser gets of a value."""
    return json.loads(drawing.joined(drawing.encoded({"a": value})))["a"]


def test_arrays_go_as_the_bytes_of_their_numbers():
    column = sent(drawing.columns(x=np.array([1, 2, 3]), text=["µ", "b"]))["data"]
    assert np.frombuffer(base64.b64decode(column["x"]["f8"])).tolist() == [1.0, 2.0, 3.0]
    assert column["text"] == ["µ", "b"]


def test_an_image_keeps_its_shape_and_what_is_not_a_number():
    (image,) = sent(drawing.columns(shown=[np.array([[1.0, np.nan], [3.0, 4.0], [5.0, 6.0]])]))["data"][
        "shown"
    ]
    assert image["shape"] == [3, 2]
    numbers = np.frombuffer(base64.b64decode(image["f8"]))
    assert numbers[0] == 1.0
    assert np.isnan(numbers[1])


def test_numbers_of_numpy_and_models():
    assert sent({"low": np.float64(0.5), "n": np.int64(7), **drawing.limits(np.float64(1), 2)}) == {
        "low": 0.5,
        "n": 7,
        "limits": [1.0, 2.0],
    }
    assert sent(drawing.model("tot.log")) == {"model": "tot.log"}


def test_what_json_does_not_know_is_no_silent_mistake():
    with pytest.raises(TypeError, match="set has no place in a drawing"):
        drawing.encoded({"a": {1, 2}})
    with pytest.raises(ValueError, match="JSON"):
        drawing.encoded({"a": float("nan")})
