"""What the doctor says of the way through several relays."""

import pytest

from astropix_stream.counting.hops import Hop
from astropix_stream.doctor.hops import has_just_begun, judge_hops

NOW_NS = 1_700_000_000 * 10**9


def report(*hops):
    return {"hops": [hop.to_json() for hop in hops]}


def way(*ages, lost=0, lost_s_ago=0.0):
    names = ("relay-a", "relay-roma", "relay-bari")
    last_ns = round(NOW_NS - lost_s_ago * 1e9) if lost else 0
    return [
        Hop(
            number,
            name,
            f"tcp://{name}:5556",
            (number - 1,) if number else (),
            {"between_relays": lost if number == len(ages) - 1 else 0},
            last_ns,
            last_ns,
            age_s=age_s,
        )
        for number, (name, age_s) in enumerate(zip(names, ages, strict=False))
    ]


def judged(*hops):
    return judge_hops(report(*hops), NOW_NS)


@pytest.mark.parametrize("told", [None, {}, {"hops": []}, report(*way(0.1))])
def test_where_there_is_one_relay_nothing_is_said(told):
    assert judge_hops(told, NOW_NS) is None


def test_all_is_well():
    verdict = judged(*way(0.1, 0.2, 0.1))
    assert not verdict.fault
    assert verdict.text == (
        "tcp://relay-a:5556 -> tcp://relay-roma:5556 -> tcp://relay-bari:5556; nothing lost between them"
    )


@pytest.mark.parametrize(
    ("ages", "words"),
    [
        (
            (0.1, 60.0, 60.0),
            "relay-a and relay-roma: the last one came 1 min 0 s ago there, the last one above",
        ),
        ((0.1, 0.1, None), "between relay-roma and relay-bari: none has come there"),
    ],
)
def test_where_readouts_stop(ages, words):
    verdict = judged(*way(*ages))
    assert verdict.fault == "hop-silent"
    assert words in verdict.text


def test_a_daq_that_sends_nothing_is_no_fault_of_a_line():
    assert not judged(*way(300.0, 300.0, 300.0)).fault
    assert not judged(*way(None, None)).fault


def test_where_readouts_are_lost_and_when():
    verdict = judged(*way(0.1, 0.1, lost=14, lost_s_ago=5.0))
    assert verdict.fault == "hop-loses"
    assert verdict.text == (
        "14 readouts were lost between relay-a and relay-roma, the last of them 5.0 s ago"
    )
    old = judged(*way(0.1, 0.1, lost=14, lost_s_ago=3600.0))
    assert not old.fault
    assert old.text.endswith("; 14 lost between them, none lately")


def test_hops_that_are_fed_by_relays_which_nobody_tells():
    assert not judged(Hop(5, "x", "tcp://x:1", (9,)), Hop(6, "y", "", (8,))).fault


@pytest.mark.parametrize(
    ("ages", "begun"),
    [((0.1, None), True), ((None, 0.1), True), ((0.1, 0.2), False), ((None, None), False)],
)
def test_of_a_stream_that_has_just_begun_some_relays_have_not_told_yet(ages, begun):
    assert has_just_begun(report(*way(*ages))) is begun
