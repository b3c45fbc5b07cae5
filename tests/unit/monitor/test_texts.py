"""What the page says in words."""

import functools

import pytest

from astropix_stream.counting.places import Place
from astropix_stream.counting.state import State
from astropix_stream.monitor import texts
from astropix_stream.monitor.runs import Account


@pytest.mark.parametrize("word", State)
def test_each_state_says_when_the_last_readout_came(word):
    text = texts.state(word, age_s=12.4, lag_s=3.0, trouble="eth1 is down")
    assert text.endswith("last readout 12 s ago")
    assert texts.state(word, age_s=None, lag_s=0.0, trouble="").endswith("no readout yet")
    assert ("eth1 is down" in text) is (word in {State.NO_NETWORK, State.NO_LOG})
    assert ("come 3.0 s late" in text) is (word is State.LAGGING)


def test_the_states_have_different_words():
    said = {texts.state(word, age_s=1, lag_s=1, trouble="no route") for word in State}
    assert len(said) == len(State) - 1  # no network and no log both say the trouble


@pytest.mark.parametrize(
    ("where", "relayed", "said"),
    [
        (Place.BEFORE_SOCKET, True, "before the relay's socket"),
        (Place.BEFORE_SOCKET, False, "before the socket"),
        (Place.CLIENT_QUEUE, True, "in this program"),
    ],
)
def test_a_place_as_seen_from_the_page(where, relayed, said):
    assert texts.place(where, relayed=relayed) == said


def account(held=0, lost_at=None, duplicates=0):
    return Account(held=held, lost_at=lost_at or {}, duplicates=duplicates)


def holds(account, sources=1, at_most=False):
    return texts.holds(account, since="since 12:00", sources=sources, relayed=True, at_most=at_most)


def test_the_sentence_says_what_the_page_holds():
    lost = {Place.BEFORE_SOCKET: 12, Place.RELAY_KERNEL: 2}
    assert holds(account()) == "No readout since 12:00 yet."
    before_any = texts.holds(account(), since="", sources=0, relayed=True, at_most=False)
    assert before_any == "No readout yet."
    assert holds(account(3)) == "This page holds all the run's readouts since 12:00."
    assert holds(account(3), sources=2) == "This page holds all the readouts of 2 DAQs since 12:00."
    assert (
        holds(account(3, duplicates=1))
        == "This page holds all the run's readouts since 12:00; 1 duplicate left out."
    )
    assert holds(account(86, lost), at_most=True) == (
        "This page holds 86.00\u202f% of the run's readouts since 12:00; "
        "14 missed: 12 before the relay's socket, at most 2 in the relay's kernel."
    )


def test_what_was_lost_between_relays_is_told_with_its_hop():
    lost = {Place.BETWEEN_RELAYS: 14, Place.CLIENT_QUEUE: 1}
    told = functools.partial(texts.losses, account(9, lost), relayed=True, at_most=False)
    one = told(hops=["between relay-a and relay-roma"])
    assert one == "15 missed: 14 between relay-a and relay-roma, 1 in this program"
    both = told(hops=["between a and b", "between b and c"])
    assert both.startswith("15 missed: 14 between a and b or between b and c, ")
    assert "14 between relays" in told()


def test_what_was_thinned_out_is_no_loss():
    told = texts.holds(account(9), since="since 10:00", sources=1, relayed=True, at_most=False, thinned=3000)
    assert told == (
        "This page holds all the run's readouts since 10:00; "
        "3\u202f000 in all were thinned out on the way, to save bandwidth."
    )
