"""How many clients are in, by a model; the answers to ZeroMQ's questions are in tests/integration."""

from hypothesis import given
from hypothesis import strategies as st

from astropix_relay.clients.admitted import Connections
from astropix_relay.clients.connections import HANDSHAKE_MS


def test_a_client_counts_from_the_answer_to_its_end():
    connections = Connections()
    connections.accepted(7, 0.0)
    assert connections.clients(0.0) == 0
    connections.let_in(0.1)
    for now_s in (0.2, 3.0, 4.0, 1e6):
        assert connections.clients(now_s) == 1
    connections.ended(7)
    assert connections.clients(1e6) == 0


def test_a_connection_is_known_from_its_start_to_its_end():
    connections = Connections()
    connections.accepted(7, 3.0)
    connections.accepted(8, 3.1)
    assert connections.descriptors() == {7, 8}
    connections.ended(7)
    assert connections.descriptors() == {8}


def test_silent_connections_keep_nobody_out():
    connections = Connections()
    for fd in range(2000):
        connections.accepted(fd, 0.0)
    assert (connections.open, connections.clients(1.0)) == (2000, 0)


def test_a_descriptor_used_again_is_another_connection():
    connections = Connections()
    connections.accepted(7, 0.0)
    connections.let_in(0.0)
    connections.accepted(7, 100.0)
    assert (connections.open, connections.clients(100.0)) == (1, 0)


def test_all_can_end_together():
    connections = Connections()
    connections.accepted(7, 0.0)
    connections.let_in(0.0)
    connections.all_ended()
    assert (connections.open, connections.clients(0.0)) == (0, 0)


CONNECTION = st.tuples(
    st.floats(0, 20),  # accepted
    st.none() | st.floats(0, HANDSHAKE_MS / 1000),  # let in so much later; None: never
    st.floats(0, 20),  # ended so much later
)


@given(st.lists(CONNECTION, max_size=30), st.floats(0, 25))
def test_never_fewer_than_there_are(arrivals, now_s):
    """ZeroMQ closes what was not let in within the handshake's time; everything else may happen."""
    connections, events, clients = Connections(), [], 0
    for fd, (accepted_s, answer_s, lasted_s) in enumerate(arrivals):
        if answer_s is None:
            lasted_s = min(lasted_s, HANDSHAKE_MS / 1000)  # noqa: PLW2901
        events.append((accepted_s, 0, fd))
        if answer_s is not None and answer_s <= lasted_s:
            events.append((accepted_s + answer_s, 1, fd))
            clients += accepted_s + answer_s <= now_s < accepted_s + lasted_s
        elif answer_s is not None:
            lasted_s = min(lasted_s, HANDSHAKE_MS / 1000)  # noqa: PLW2901
        events.append((accepted_s + lasted_s, 2, fd))
    for at_s, kind, fd in sorted(events):
        if at_s <= now_s:
            if kind == 0:
                connections.accepted(fd, at_s)
            elif kind == 1:
                connections.let_in(at_s)
            else:
                connections.ended(fd)
    assert clients <= connections.clients(now_s) <= connections.open
