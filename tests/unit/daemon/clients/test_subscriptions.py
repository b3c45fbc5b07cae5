"""Who has subscribed to what, whatever libzmq passes on."""

from hypothesis import given
from hypothesis import strategies as st

from astropix_relay.clients.subscriptions import Subscriptions


def test_a_second_subscription_of_a_connection_counts_once():
    subscriptions = Subscriptions()
    assert [subscriptions.begin(7, b"a") for _ in range(3)] == [True, False, False]
    assert subscriptions.count == 1
    assert subscriptions.leave(7) == [b"a"]
    assert subscriptions.count == 0


def test_nobody_ends_the_subscription_of_another():
    subscriptions = Subscriptions()
    subscriptions.begin(7, b"a")
    assert not subscriptions.end(8, b"a")
    assert not subscriptions.end(7, b"b")
    assert subscriptions.count == 1
    assert subscriptions.end(7, b"a")
    assert not subscriptions.end(7, b"a")


def test_all_leave_together():
    subscriptions = Subscriptions()
    for fd in (7, 8):
        subscriptions.begin(fd, b"a")
    assert subscriptions.leave(None) == [b"a", b"a"]
    assert subscriptions.leave(7) == subscriptions.leave(None) == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["begin", "end", "leave"]), st.integers(0, 2), st.sampled_from([b"", b"a", b"b"])
        )
    )
)
def test_what_is_told_to_begin_and_to_end_adds_up(moves):
    """As a model has it: pairs of connection and topic; each topic is told to end as often as to begin."""
    subscriptions, model = Subscriptions(), set()
    told = dict.fromkeys([b"", b"a", b"b"], 0)
    for what, fd, topic in moves:
        if what == "leave":
            for gone in subscriptions.leave(fd):
                told[gone] -= 1
            model = {pair for pair in model if pair[0] != fd}
        elif what == "begin":
            told[topic] += subscriptions.begin(fd, topic)
            model.add((fd, topic))
        else:
            told[topic] -= subscriptions.end(fd, topic)
            model.discard((fd, topic))
        assert subscriptions.count == len(model)
        assert told == {topic: sum(pair[1] == topic for pair in model) for topic in told}
