from astropix_bridge.waking import AGAIN_S, GIVEN_UP_S, Requests


def test_what_nobody_answers_is_sent_again_every_second():
    requests = Requests()
    requests.note("reply", "request", 10.0)
    assert requests.due(10.5) == []
    for second in range(1, 4):
        assert requests.due(10.0 + second * AGAIN_S) == [("reply", "request")]
        assert requests.due(10.1 + second * AGAIN_S) == []


def test_what_is_answered_is_not():
    requests = Requests()
    requests.note("one", 1, 0.0)
    requests.note("other", 2, 0.0)
    assert requests.answered("one")
    assert not requests.answered("one")
    assert requests.due(2.0) == [("other", 2)]


def test_our_own_repetition_is_not_another_request():
    requests = Requests()
    requests.note("reply", "request", 0.0)
    requests.note("reply", "request", 28.5)
    assert requests.due(GIVEN_UP_S) == []
    assert len(requests) == 0
