"""What ``make alerts`` makes of what it reads; the rows themselves run there alone."""

import os
import shutil

import pytest
import yaml

from matrix import alerts
from matrix.rows import ROWS
from matrix.scrapes import RULES, Target, fired

LOST = 'astropix_relay_missing_readouts_total{place="before_socket",stream="astropix"}'
JOINED = 'astropix_relay_joined{stream="astropix"}'


@pytest.fixture(autouse=True)
def promtool():
    if shutil.which("promtool") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("promtool is missing (prometheus)")


def scrapes(*samples):
    """What a reader prints; None: nobody answered."""
    texts = (
        "" if sample is None else "".join(f"{key} {value}\n" for key, value in sample.items())
        for sample in samples
    )
    return "".join(f"scrape\n{text}" for text in texts)


def relay(lost=0.0, joined=1.0):
    return {LOST: lost, JOINED: joined}


def alerts_of(tmp_path, host, *samples):
    return fired({Target("astropix-relay", host): scrapes(*samples)}, 30, tmp_path)


def test_what_grows_fires_its_alert(tmp_path):
    assert alerts_of(tmp_path, "relay", None, relay(), relay(), relay(5.0), None) == {
        "AstropixLostBeforeSocket"
    }
    assert alerts_of(tmp_path, "relay", relay(5.0), relay(5.0)) == set()


def test_alerts_of_other_hosts_bear_their_names(tmp_path):
    away = [None] * 4
    assert alerts_of(tmp_path, "second", relay(), *away, relay()) == {"second: AstropixRelayDown"}


def test_a_relay_that_starts_is_not_yet_looked_at(tmp_path):
    starting = [relay(joined=0.0)] * 5
    assert alerts_of(tmp_path, "relay", *starting, relay(), relay()) == set()
    assert alerts_of(tmp_path, "relay", relay(), *starting, relay()) == {"AstropixNotJoined"}


def test_the_tables_name_rows_and_alerts_that_there_are():
    rows = {row.name for row in ROWS}
    assert {*alerts.EXPECTED, *alerts.PERHAPS} <= rows
    groups = yaml.safe_load(RULES.read_text())["groups"]
    known = {rule["alert"] for group in groups for rule in group["rules"]}
    named = {
        one.rpartition(": ")[2]
        for table in (alerts.EXPECTED, alerts.PERHAPS)
        for found in table.values()
        for one in found
    }
    assert named <= known
