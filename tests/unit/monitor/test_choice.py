"""What comes from a browser is a checked choice, or one error."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astropix_stream.errors import ConfigError
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.geometry import Pixel

# What assets/monitor.js sends: a form's values are texts.
FROM_BROWSER = {
    "run": "", "compare": "2", "chip": "", "quantity": "tot", "log": True, "window_min": "60",
    "tot_from": "10.5", "tot_to": "300", "tot_bins": "50", "masked": "0/9/3, 1/2/3 0/9/3",
    "frozen": False, "reset": 1,
}  # fmt: skip


def test_from_a_browser():
    choice = Choice.read(json.dumps(FROM_BROWSER))
    assert choice == Choice.read(FROM_BROWSER)
    assert (choice.run, choice.compare, choice.chip) == (None, 2, None)
    assert (choice.tot_from, choice.tot_to, choice.tot_bins, choice.window_min) == (10.5, 300.0, 50, 60)
    assert choice.masked == (Pixel(0, 9, 3), Pixel(1, 2, 3))


def test_from_a_query():
    choice = Choice.read({"run": "3", "chip": "1", "log": "true", "masked": "1/2/3"})
    assert (choice.run, choice.chip, choice.log, choice.masked) == (3, 1, True, (Pixel(1, 2, 3),))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"chip": 32}, "chip"),
        ({"chip": "x"}, "chip"),
        ({"window_min": 7}, "window_min"),
        ({"tot_from": 300, "tot_to": 100}, "TOT range"),
        ({"tot_to": float("nan")}, "tot_to"),
        ({"tot_bins": 10**9}, "tot_bins"),
        ({"quantity": "<script>"}, "quantity"),
        ({"masked": "0/1"}, "chip/column/row"),
        ({"masked": "0/32/1"}, "from 0 to 31"),
        ({"masked": [1, 2]}, "chip/column/row"),
        ({"masked": 7}, "masked"),
        (
            {"masked": " ".join(f"{i}/{j}/{k}" for i in range(2) for j in range(32) for k in range(32))},
            "masked",
        ),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_wrong(wrong, said):
    with pytest.raises(ConfigError, match=said) as caught:
        Choice.read(wrong)
    assert "\n" not in str(caught.value)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
keys = st.sampled_from([*Choice.model_fields, "other"])


@settings(deadline=None)
@given(st.dictionaries(keys, values))
def test_any_values(wish):
    for asked in (wish, json.dumps(wish)):
        with contextlib.suppress(ConfigError):
            Choice.read(asked)


@settings(deadline=None)
@given(st.text())
def test_any_text(text):
    with contextlib.suppress(ConfigError):
        Choice.read(text)
