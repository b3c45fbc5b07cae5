"""How many loads the page bears."""

from astropix_stream.monitor.guard import Bucket


def test_so_many_at_once_and_so_many_a_second_after_that():
    bucket = Bucket(3, 2.0)
    assert [bucket.take(100.0) for _ in range(5)] == [True, True, True, False, False]
    assert [bucket.take(100.5) for _ in range(2)] == [True, False]
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]  # never more than it holds
