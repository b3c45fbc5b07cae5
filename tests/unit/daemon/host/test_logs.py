"""A problem that repeats is said once, and summed up each minute."""

import io
import logging
import threading

import pytest

from astropix_relay.host import logs


@pytest.fixture
def log():
    handler = logs.SummingHandler(io.StringIO())
    logger = logging.getLogger("test of logs")
    logger.propagate = False
    logger.setLevel("DEBUG")
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def lines(log):
    return log.handlers[0].stream.getvalue().splitlines()


def began_s(log):
    return next(iter(log.handlers[0]._problems.values())).since_s


def test_a_flood_is_one_line_and_a_sum_each_minute(log):
    for i in range(1000):
        log.warning("%s: refused %d", "publish", i)
    assert lines(log) == ["publish: refused 0"]
    began = began_s(log)
    log.handlers[0].tick(began + 59)
    assert len(lines(log)) == 1
    log.handlers[0].tick(began + 61)
    assert lines(log)[1:] == ["publish: refused 999 (999 more in a minute)"]
    log.warning("%s: refused %d", "publish", 1000)
    log.handlers[0].tick(began + 122)
    assert lines(log)[2:] == ["publish: refused 1000 (1 more in a minute)"]


def test_when_it_is_over_the_next_one_is_said_at_once(log):
    log.error("broken")
    log.handlers[0].tick(began_s(log) + 61)
    log.error("broken")
    assert lines(log) == ["broken", "broken"]


def test_other_things_are_other_problems(log):
    for stream in ("one", "two", "one"):
        log.warning("stream %s: down", stream)
    log.warning("stream %s: up", "one")
    assert lines(log) == ["stream one: down", "stream two: down", "stream one: up"]


def test_events_and_answers_to_a_person_are_always_said(log):
    for _ in range(3):
        log.info("reloaded")
        log.error("refused", extra=logs.ALWAYS)
    assert lines(log) == ["reloaded", "refused"] * 3


def test_a_clock_that_is_set_back_forgets_nothing(log):
    log.warning("x")
    log.warning("x")
    log.handlers[0].tick(0.0)
    assert lines(log) == ["x", "x (1 more in a minute)"]


def test_memory_is_bounded(log):
    for i in range(5000):
        log.warning("stream %s: down", i)
    assert len(lines(log)) == 5000
    assert len(log.handlers[0]._problems) == 1000


def test_a_traceback_is_written_once(log):
    for _ in range(2):
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            log.exception("cannot tell")
    log.handlers[0].tick(began_s(log) + 61)
    assert sum("Traceback" in line for line in lines(log)) == 1
    assert lines(log)[-1] == "cannot tell (1 more in a minute)"


def test_a_reader_that_is_stuck_stops_nobody_and_what_is_dropped_is_told():
    begun, go_on, written = threading.Event(), threading.Event(), []

    def write(data):
        begun.set()
        go_on.wait(20)
        written.append(data)

    stream = logs.QueuedStream(write)
    handler = logs.SummingHandler(stream)
    logger = logging.getLogger("test of a stuck log")
    logger.propagate = False
    logger.addHandler(handler)
    relay_log = logging.getLogger("astropix_relay.host.logs")
    relay_log.addHandler(handler)
    try:
        logger.warning("first")
        assert begun.wait(20)
        for i in range(10_000):
            logger.error("%d: %s", i, "x" * 100)
        assert 0 < stream.dropped < 10_000
        handler.tick()
        assert not stream.finish(0.01), "what cannot be written in time is left"
        go_on.set()
        assert stream.finish(20)
        handler.tick()
        assert stream.finish(20)
    finally:
        logger.removeHandler(handler)
        relay_log.removeHandler(handler)
        stream.close()
    lines = b"".join(written).decode().splitlines()
    assert lines[0] == "first"
    numbers = [int(line.partition(":")[0]) for line in lines if line.endswith("x")]
    assert numbers == sorted(numbers), "in their order"
    assert lines[-1] == f"{stream.dropped} lines of the log were dropped here: nobody read them"
    assert len(numbers) + stream.dropped == 10_000


def test_a_full_disk_costs_lines_only():
    def write(data):
        raise OSError(28, "No space left on device")

    stream = logs.QueuedStream(write)
    stream.write("a line\n")
    assert stream.finish(20)
    assert stream.dropped == 1
    stream.close()
    stream.close()
