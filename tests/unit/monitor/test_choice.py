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
    assert "nput should" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tot_bins": "1.5"}, "tot_bins: '1.5' is not a whole number"),
        ({"tot_bins": 1.5}, "tot_bins: 1.5 is not a whole number"),
        ({"tot_bins": "9" * 5000}, f"tot_bins: '{'9' * 56}... is too large"),
        ({"tot_from": "abc"}, "tot_from: 'abc' is not a number"),
        ({"log": "maybe"}, "log: 'maybe' is not true or false"),
        ({"masked": 7}, "masked: 7 is not a list"),
        ({"nonsense": 1}, "nonsense: there is no such setting"),
        ("[]", "choice: a list is not a mapping of keys to values"),
    ],
)
def test_what_is_said(wrong, said):
    with pytest.raises(ConfigError) as caught:
        Choice.read(wrong)
    assert str(caught.value) == said


class TestEach:
    """Each field stands alone."""

    def read(self, **values):
        return Choice.read_each(values)

    @pytest.mark.parametrize(
        ("name", "value", "nearest"),
        [
            ("tot_bins", "100000", 1000),
            ("tot_bins", "0", 1),
            ("tot_bins", "1e400", 1000),
            ("tot_bins", "50.7", 50),
            ("tot_from", "-3", 0),
            ("tot_from", "1e9", 819.0),
            ("tot_to", "1e9", 819.2),
            ("tot_to", "-1", 0.2),
        ],
    )
    def test_numbers_become_the_nearest(self, name, value, nearest):
        choice, refused = self.read(**{name: value, "chip": "2"})
        assert getattr(choice, name) == pytest.approx(nearest)
        assert choice.chip == 2
        assert list(refused) == [name]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("tot_to", "abc"), ("tot_to", "nan"), ("tot_bins", None), ("run", "first"), ("compare", "-"),
            ("chip", "77"), ("quantity", "x"), ("log", "perhaps"), ("window_min", "7"), ("tot_of", "x"),
            ("masked", 7), ("frozen", "x"), ("reset", "x"), ("tot_bins", "1_0"), ("tot_to", "\u0663"),
            ("chip", "1_0"), ("chip", "\u0663"), ("pixel", "0/1_0/3"), ("pixel", "0/\u0663/3"),
            ("readout", "0x1f"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_read_keeps_what_it_had(self, name, value):
        before = Choice.read({"chip": 3, "tot_to": 50, "quantity": "tot"})
        choice, refused = Choice.read_each(
            {name: value, "tot_from": "10", "tot_to": "60"} | {name: value}, before=before
        )
        assert list(refused) == [name]
        assert getattr(choice, name) == getattr(before, name)
        assert choice.tot_from == 10

    @pytest.mark.parametrize("name", sorted(set(Choice.model_fields) - {"frozen", "reset"}))
    def test_an_empty_field_is_a_fresh_one(self, name):
        before = Choice.read({"chip": 3, "tot_to": 50, "quantity": "tot", "log": True, "masked": "0/9/3"})
        choice, refused = Choice.read_each({name: ""}, before=before)
        assert (choice, refused) == (Choice(), {})

    def test_what_is_said_of_a_number(self):
        _, refused = self.read(tot_bins="50.7", readout="-1", tot_to="1e9")
        assert refused == {
            "tot_bins": "50.7 is not a whole number",
            "readout": "-1 is out of range: 0 to 4294967295",
            "tot_to": "1e+09 is out of range: 0.2 to 819.2",
        }

    def test_a_range_that_ends_before_it_begins(self):
        before = Choice.read({"tot_from": 5, "tot_to": 50})
        choice, refused = Choice.read_each({"tot_from": "60", "tot_to": "50"}, before=before)
        assert (choice.tot_from, choice.tot_to) == (5, 50)
        assert list(refused) == ["tot_to"]

    def test_of_pixels_those_that_can_be_read(self):
        choice, refused = self.read(masked="0/9/3 nonsense 1/2/3 0/99/1")
        assert choice.masked == (Pixel(0, 9, 3), Pixel(1, 2, 3))
        assert refused["masked"].startswith("'nonsense' is not a pixel")
        before = Choice.read({"masked": "0/9/3"})
        choice, refused = Choice.read_each({"masked": "nonsense"}, before=before)
        assert choice.masked == before.masked
        assert refused["masked"].startswith("'nonsense' is not a pixel")

    def test_what_there_is_not(self):
        assert self.read(nonsense=1) == (Choice(), {"nonsense": "there is no such setting"})


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
    choice, _ = Choice.read_each(wish)
    assert Choice.read(choice.to_json()) == choice


@settings(deadline=None)
@given(st.text())
def test_any_text(text):
    with contextlib.suppress(ConfigError):
        Choice.read(text)
