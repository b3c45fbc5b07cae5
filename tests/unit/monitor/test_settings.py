"""The file of `apx monitor --config`."""

import re
from pathlib import Path

import pytest

from astropix_stream.checking.mistakes import ConfigMistakes
from astropix_stream.errors import ConfigError
from astropix_stream.monitor.settings import MAX_RULES, Rule, Settings, Webhook, When, load_settings, quantity


def load(text):
    return load_settings(text, file="monitor.yaml")


def test_every_key():
    settings = load("""
alarms:
  - when: rate
    name: DAQ slow
    below: 100
    above: 2e3
    over: 5s
    raise_after: 1min
    clear_after: 0
  - {when: loss, above: 0.5 %}
  - {when: silence, above: 2min}
  - {when: hot pixels, above: 2, ignore: [0/9/3, 1.2/3/4]}
  - {when: decode problems, above: 0.01}
  - when: no connection
webhook:
  url: https://chat.example/hooks/1
  headers: {Authorization: Bearer x}
  timeout: 2s
  give_up_after: 10min
""")
    rate, loss, silence, hot, problems, gone = settings.alarms
    assert (rate.title, rate.below, rate.limit, rate.over_s) == ("DAQ slow", 100, 2000, 5)
    assert (rate.raise_after, rate.clear_after) == (60, 0)
    assert rate.limits == "below 100 readouts/s or above 2000 readouts/s"
    assert (loss.title, loss.limit, loss.over_s) == ("loss above 0.5 %", 0.005, 60)
    assert (silence.title, silence.limit, silence.over_s) == ("silence above 120 s", 120, 0)
    assert (hot.title, hot.ignore) == ("hot pixels above 2 pixels", ("0/9/3", "1.2/3/4"))
    assert problems.title == "decode problems above 1 %"
    assert gone.title == "no connection"
    assert settings.webhook.url == "https://chat.example/hooks/1"
    assert settings.webhook.headers == {"Authorization": "Bearer x"}


@pytest.mark.parametrize("text", ["", "alarms:\n", "webhook: null\nalarms: []\n"])
def test_nothing(text):
    assert load(text) == Settings()


def test_usual_limits():
    loss, silence, hot = load("alarms: [{when: loss}, {when: silence}, {when: hot pixels}]").alarms
    assert (loss.limit, silence.limit, hot.limit) == (0, 30, 0)
    (low,) = load("alarms: [{when: rate, below: 3}]").alarms
    assert low.limit is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alarms:\n- when: rat", "monitor.yaml:2:9: alarms[0].when: 'rat' is not one of 'rate', 'loss'"),
        ("alarms:\n- below: 3", "monitor.yaml:2:3: alarms[0].when: missing"),
        ("alarms:\n- when: loss\n  abov: 1%", "3:3: alarms[0].abov: unknown key; did you mean 'above'?"),
        ("alarm: []", "monitor.yaml:1:1: alarm: unknown key; did you mean 'alarms'?"),
        ("alarms: 3", "monitor.yaml:1:9: alarms: 3 is not a list"),
        ("- 1", "monitor.yaml:1:1: a list is not a mapping of keys to values"),
        ("alarms: [{when: loss, above: much}]", "'much' is not a limit: write a number, '1%' or '30s'"),
        ("alarms: [{when: loss, above: -1}]", "-1 is not a limit"),
        ("alarms: [{when: loss, above: true}]", "true is not a limit"),
        ("alarms: [{when: loss, above: 1}]", "a part is less than 1: write '1%' or 0.01"),
        ("alarms: [{when: loss, below: 1%}]", "an alarm for loss has no lower limit"),
        ("alarms: [{when: rate}]", "alarms[0].when: an alarm for rate needs a limit: 'below' or 'above'"),
        ("alarms: [{when: decode problems}]", "an alarm for decode problems needs a limit: 'above'"),
        ("alarms: [{when: rate, below: 3, above: 2}]", "the upper limit must be more than the lower one"),
        ("alarms: [{when: no connection, above: 2}]", "an alarm for no connection has no limit"),
        ("alarms: [{when: silence, over: 10s}]", "an alarm for silence looks at the moment"),
        ("alarms: [{when: loss, over: 1s}]", "1s is not from 2s to 10min"),
        ("alarms: [{when: loss, ignore: [0/1/2]}]", "only an alarm for hot pixels ignores pixels"),
        ("alarms: [{when: hot pixels, ignore: [7]}]", "7 is not text"),
        ("alarms: [{when: hot pixels, ignore: ['9,3']}]", "'9,3' is not a pixel: write chip/column/row"),
        ("alarms: [{when: loss, name: ''}]", "'' is not a name"),
        ("alarms: [{when: loss}, {when: loss}]", "another alarm is called 'loss above 0 %'"),
        ("webhook: {}", "webhook.url: missing; it has no default"),
        ("webhook: {url: ftp://a/b}", "'ftp://a/b' is not an address for a webhook: write https://HOST/PATH"),
        ("webhook: {url: 'http://[x/'}", "is not an address for a webhook"),
        ("webhook: {url: 'http://a/', headers: {A: \"b\\n\"}}", "cannot be in an HTTP header"),
        ("webhook: {url: 'http://a/', headers: {A: 1}}", "1 is not text"),
    ],
)
def test_mistakes_are_told_with_their_line(text, said):
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert said in str(caught.value)
    assert isinstance(caught.value, ConfigMistakes)
    assert all(str(one).startswith("monitor.yaml:") for one in caught.value.mistakes)


def test_the_number_of_alarms_is_bounded():
    many = "alarms:\n" + "".join(f"- {{when: loss, name: a{i}}}\n" for i in range(MAX_RULES + 1))
    with pytest.raises(ConfigError, match="51 alarms; at most 50"):
        load(many)


@pytest.mark.parametrize(
    ("when", "value", "text"),
    [
        (When.RATE, 12.34, "12.3 readouts/s"),
        (When.RATE, 12345.6, "12346 readouts/s"),
        (When.LOSS, 0.0123, "1.23 %"),
        (When.HOT_PIXELS, 1, "1 pixel"),
        (When.HOT_PIXELS, 2, "2 pixels"),
        (When.SILENCE, 30, "30 s"),
    ],
)
def test_quantities(when, value, text):
    assert quantity(when, value) == text


def test_the_example_explains_every_key():
    text = (Path(__file__).parents[3] / "config/monitor.yaml").read_text()
    settings = load_settings(text)
    assert {rule.when for rule in settings.alarms} == set(When)
    begin = text.index("# webhook:")
    whole = load_settings(text[:begin] + re.sub(r"(?m)^# ?", "", text[begin:]))
    assert whole.webhook.timeout == 10
    for model in (Rule, Webhook):
        assert [key for key in model.model_fields if f"{key}:" not in text] == []
