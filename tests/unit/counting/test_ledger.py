"""What a receiver shows: losses by place and time, for people and for programs."""

import html
import json
from datetime import datetime
from pathlib import Path

import pytest

from astropix_stream.batch import Source
from astropix_stream.clock import Moment
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.ledger import Ledger, PathAccount, direct_ledger, place_counts
from astropix_stream.counting.losses import KEPT_GAPS, Loss, Period
from astropix_stream.counting.places import Place
from astropix_stream.counting.stream import MAX_SOURCES, StreamLedger

EPOCH_NS = 1_700_000_000_000_000_000
DAQ = Source("10.0.1.1", 40000)


def at(seconds):
    return Moment(seconds, EPOCH_NS + round(seconds * 1e9))


def hear(ledger, source, *readout_ids, seconds=0.0):
    stamps = [EPOCH_NS + readout_id for readout_id in readout_ids]
    return ledger.received(source, list(readout_ids), stamps, at(seconds))


@pytest.fixture
def ledger():
    return StreamLedger()


def local_ns(text):
    return round(datetime.fromisoformat(text).timestamp() * 1e9)


NOON_NS = local_ns("2026-07-23 12:00:00")
S = 10**9


def test_a_ledger_says_what_was_lost_where_and_when():
    ledger = Ledger(
        delivered=986,
        lost_at={Place.RELAY_KERNEL: 12, Place.CLIENT_QUEUE: 2},
        periods={
            Place.RELAY_KERNEL: Period(NOON_NS, NOON_NS + S),
            Place.CLIENT_QUEUE: Period(NOON_NS + S, NOON_NS + 2 * S),
        },
    )
    assert (ledger.lost, ledger.live_fraction) == (14, 0.986)
    assert ledger.text(NOON_NS + 3600 * S) == (
        "14 lost of 1000: 12 in the relay's kernel, between 12:00:00 and 12:00:01; "
        "2 in this program, between 12:00:01 and 12:00:02"
    )
    assert "at most 12 in the relay's kernel, 2 in" in str(Ledger(lost_at=ledger.lost_at, at_most=True))


def test_what_was_lost_at_the_same_time_has_one_period():
    both = dict.fromkeys((Place.RELAY_KERNEL, Place.CLIENT_QUEUE), Period(NOON_NS, NOON_NS + S))
    ledger = Ledger(delivered=1, lost_at=dict.fromkeys(both, 2), periods=both)
    assert ledger.text(NOON_NS) == (
        "4 lost of 5: 2 in the relay's kernel, 2 in this program, between 12:00:00 and 12:00:01"
    )


@pytest.mark.parametrize(
    ("days", "told"),
    [
        (0, "between 12:00:00 and 12:00:02"),
        (1, "between 2026-07-23 12:00:00 and 2026-07-23 12:00:02"),
        (400, "between 2026-07-23 12:00:00 and 2026-07-23 12:00:02"),
    ],
)
def test_what_is_not_of_today_has_its_date(days, told):
    losses = (Loss(Place.BEFORE_SOCKET, 4, NOON_NS, NOON_NS + 2 * S),)
    ledger = Ledger(delivered=6, lost_at={Place.BEFORE_SOCKET: 4}, losses=losses)
    assert ledger.text(NOON_NS + days * 86400 * S).endswith(f"4 before the socket, {told}")


def test_a_period_of_several_days_has_the_date_of_its_begin():
    period = Period(NOON_NS - 3 * 86400 * S, NOON_NS)
    assert period.text(NOON_NS) == "2026-07-20 12:00:00 and 12:00:00"


def test_the_readme_shows_the_line_that_is_printed():
    ledger = Ledger(
        delivered=19986,
        lost_at={Place.BEFORE_SOCKET: 2, Place.CLIENT_KERNEL: 12},
        periods={
            Place.BEFORE_SOCKET: Period(local_ns("2026-07-23 10:02:11"), local_ns("2026-07-23 10:02:12")),
            Place.CLIENT_KERNEL: Period(local_ns("2026-07-23 10:07:40"), local_ns("2026-07-23 10:07:43")),
        },
    )
    readme = " ".join((Path(__file__).parents[3] / "README.md").read_text().split())
    assert f"`{ledger.text(NOON_NS)}`" in readme


def test_a_ledger_of_nothing():
    assert str(Ledger()) == "no readouts"
    assert Ledger().live_fraction == 1.0
    assert str(Ledger(delivered=7)) == "nothing lost of 7"


def test_a_ledger_as_json():
    ledger = Ledger(
        delivered=3,
        lost_at={Place.BEFORE_SOCKET: 1},
        losses=(Loss(Place.BEFORE_SOCKET, 1, 5, 6),),
        periods={Place.BEFORE_SOCKET: Period(5, 6)},
    )
    assert json.loads(json.dumps(ledger.to_json())) == {
        "delivered": 3,
        "lost": 1,
        "live_fraction": 0.75,
        "lost_at": {"before_socket": 1},
        "duplicates": 0,
        "reordered": 0,
        "late": 0,
        "stray": 0,
        "before_joining": 0,
        "runs": 0,
        "recovered": 0,
        "restarts": 0,
        "at_most": False,
        "periods": {"before_socket": {"first_ns": 5, "last_ns": 6}},
        "losses": [{"place": "before_socket", "count": 1, "began_ns": 5, "ended_ns": 6}],
        "remarks": [],
        "thinned": 0,
    }


def test_what_a_receiver_shows_that_joined_the_group_itself(ledger):
    hear(ledger, DAQ, 3, 3)
    ledger.note_rejected(DAQ, "magic")
    ledger.note_dropped(2)
    hear(ledger, DAQ, 10, seconds=1)
    ledger.tick(at(2))
    shown = direct_ledger(ledger)
    assert shown.lost_at == {Place.BEFORE_SOCKET: 3, Place.CLIENT_KERNEL: 2, Place.CLIENT_REJECTED: 1}
    assert [(loss.place, loss.count) for loss in shown.losses] == list(shown.lost_at.items())
    assert {(loss.began_ns, loss.ended_ns) for loss in shown.losses} == {(at(0).ns, at(1).ns)}
    assert (shown.delivered, shown.duplicates, shown.before_joining, shown.runs) == (2, 1, 3, 1)
    assert str(shown).startswith(
        "6 lost of 8: 3 before the socket, 2 in this host's kernel, 1 rejected here, "
    )


def test_the_last_hundred_losses_are_shown(ledger):
    for i in range(150):
        hear(ledger, DAQ, 2 * i, seconds=i)
    ledger.tick(at(200))
    losses = direct_ledger(ledger).losses
    assert len(losses) == KEPT_GAPS
    assert losses[-1].ended_ns == at(149).ns


def test_the_period_of_the_losses_begins_with_the_first_of_them(ledger):
    hear(ledger, DAQ, 1)
    ledger.note_dropped(1)
    for i in range(1, 150):
        hear(ledger, DAQ, 1 + 2 * i, seconds=i)
    ledger.tick(at(200))
    periods = direct_ledger(ledger).periods
    assert periods[Place.BEFORE_SOCKET] == Period(at(1).ns, at(149).ns)
    assert periods[Place.CLIENT_KERNEL] == Period(at(0).ns, at(1).ns)


def test_the_period_outlives_the_account_of_its_source(ledger):
    hear(ledger, DAQ, 1, 3)
    for i in range(MAX_SOURCES):
        hear(ledger, DAQ._replace(port=50000 + i), 0, seconds=100)
    assert DAQ not in ledger.sources()
    assert direct_ledger(ledger).periods == {Place.BEFORE_SOCKET: Period(at(0).ns, at(0).ns)}


def test_places_without_a_loss_are_not_named():
    counts = Counts(in_kernel=2, rejected={"magic": 1, "short": 2})
    assert place_counts(counts, Place.RELAY_KERNEL, Place.RELAY_REJECTED) == {
        Place.RELAY_KERNEL: 2,
        Place.RELAY_REJECTED: 3,
    }


def test_what_was_lost_between_relays_is_told_by_hop():
    ledger = Ledger(
        delivered=86,
        lost_at={Place.BEFORE_SOCKET: 2, Place.BETWEEN_RELAYS: 12},
        hops={"between relay-a and relay-roma": 12},
    )
    assert str(ledger) == "14 lost of 100: 2 before the socket, 12 between relay-a and relay-roma"


def test_a_notebook_shows_a_row_for_each_place():
    period = Period(NOON_NS, NOON_NS + S)
    path = PathAccount("tcp://a:5556", 7, 0, Ledger(delivered=7))
    ledger = Ledger(
        delivered=86,
        lost_at={Place.BEFORE_SOCKET: 2, Place.CLIENT_KERNEL: 12, Place.CLIENT_QUEUE: 0},
        periods={Place.BEFORE_SOCKET: period},
        at_most=True,
        remarks=("two sources seem to share <10.0.0.5:40000>",),
        paths=(path,),
    )
    text = ledger._repr_html_()
    assert "share &lt;10.0.0.5:40000&gt;" in text
    assert "14 lost of 100 readouts" in text
    text = html.unescape(text)
    assert text.count(str(Place.BEFORE_SOCKET)) == text.count(str(Place.CLIENT_KERNEL)) == 1
    assert str(Place.CLIENT_QUEUE) not in text
    assert "at most 12" in text
    assert "12:00:01" in text
    assert "tcp://a:5556" in text
    assert "nothing lost of 7 readouts" in text


def test_an_account_of_paths_is_told_to_programs_and_to_people():
    path = PathAccount("tcp://a:5556", 7, 3, Ledger(delivered=10, lost_at={Place.BEFORE_SOCKET: 2}))
    told = Ledger(delivered=12, paths=(path,)).to_json()
    (told_path,) = told["paths"]
    assert (told_path["name"], told_path["first"], told_path["later"]) == ("tcp://a:5556", 7, 3)
    assert (told_path["ledger"]["lost"], told_path["ledger"]["lost_at"]) == (2, {"before_socket": 2})
    assert str(path).startswith("tcp://a:5556: 7 first, 3 later copies, 2 lost of 12: 2 before the socket")
    assert "paths" not in Ledger(delivered=12).to_json()
    assert repr(Ledger(delivered=12)) == "<Ledger: nothing lost of 12>"
