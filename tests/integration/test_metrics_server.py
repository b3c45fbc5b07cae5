"""The metrics' HTTP server: what it answers, and that no client holds it up, or the relay with it."""

import contextlib
import http.client
import socket
import threading
import time
import tracemalloc
from wsgiref.simple_server import WSGIServer

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from astropix_daemon.addresses import Address
from astropix_daemon.metrics_server import MAX_CLIENTS, MAX_REQUEST, REQUEST_S, MetricsServer
from astropix_relay.metrics import metrics, states
from astropix_relay.samples import Sample, StreamSample, Turns
from astropix_stream.counting.ledger import Ledger
from astropix_stream.multicast.sockets import SocketMemory

DRIP_S = 0.1
SLACK_S = 1.5  # for a busy machine


def sample(at_s=None):
    report = {
        "state": "live", "received": 5, "published": 5, "kernel_dropped": 0, "rejected": {}, "joined": True,
        "last_readout_age_s": 0.1, "lag_s": 0.0, "sources": [],
        "totals": Ledger().to_json() | {"before_socket": 2, "in_kernel": 0, "rejected": {}},
    }  # fmt: skip
    stream = StreamSample("astropix", report, 5, 120, SocketMemory(0, 1 << 20, 0), {})
    at_s = time.monotonic() if at_s is None else at_s
    return Sample(at_s, "1.0", 1, [stream], [], 0, 0, {}, Turns().counts, 0.0, None)


@pytest.fixture
def server():
    server = MetricsServer(Address("127.0.0.1", 0), metrics, states)
    server.sample = sample()
    yield server
    server.close()


@pytest.fixture
def port(server):
    return int(server.url.rpartition(":")[2].partition("/")[0])


def ask(port, path, method="GET", **headers):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def read_all(client):
    """Read until the server closes, which it may do with a reset."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := client.recv(65536):
            data += more
    return data


def wait_until_answered(port):
    deadline_s = time.monotonic() + REQUEST_S + SLACK_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return ask(port, "/metrics")[0]
        time.sleep(0.05)
    raise AssertionError("no answer")


@contextlib.contextmanager
def drippers(port, count):
    """Clients that send a byte each 0.1 s, until the server cuts them off; yields when each of them ended."""
    ends, stopping = [], threading.Event()

    def drip(client):
        with client, contextlib.suppress(OSError):
            while not stopping.wait(DRIP_S):
                client.sendall(b"G")
        ends.append(time.monotonic())

    clients = [connect(port) for _ in range(count)]
    threads = [threading.Thread(target=drip, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield ends
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def served():
    return [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]


def wait_until(condition):
    deadline_s = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_get_and_head(port):
    status, headers, text = ask(port, "/metrics")
    names = {family.name for family in text_string_to_metric_families(text)}
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
    assert {"astropix_relay_received_readouts", "process_cpu_seconds"} <= names
    assert int(headers["Content-Length"]) == len(text)
    status, headers, body = ask(port, "/metrics", "HEAD")
    assert (status, body) == (200, "")
    assert abs(int(headers["Content-Length"]) - len(text)) < 100, "the process's own figures differ a bit"


def test_openmetrics_for_who_asks(port):
    _, headers, text = ask(port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    families = {family.name: family.type for family in parse_openmetrics(text)}
    assert families["astropix_relay_state"] == "stateset"


def test_a_query_changes_nothing(port):
    assert "astropix_relay_joined" in ask(port, "/metrics?name[]=up&x=1")[2]


@pytest.mark.parametrize(
    "path", ["/", "/favicon.ico", "/metrics/", "/metricsx", "//", "*", "/%00", "/healthz/x"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_any_other_path_is_not_found(port, path, method):
    status, _, text = ask(port, path, method)
    assert (status, text) == (404, "there are /metrics and /healthz\n" if method == "GET" else "")


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/"])
@pytest.mark.parametrize("method", ["POST", "OPTIONS", "DELETE", "get"])
def test_other_methods_are_not_allowed(port, path, method):
    status, headers, _ = ask(port, path, method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_health(server, port):
    for method in ("GET", "HEAD"):
        server.sample = None
        assert ask(port, "/healthz", method)[0] == 503
        server.sample = sample()
        assert ask(port, "/healthz", method)[0] == 200
        server.sample = sample(time.monotonic() - 60)
        assert ask(port, "/healthz", method)[0] == 503
    assert "has not turned for 60 s" in ask(port, "/healthz")[2]
    server.sample = None
    assert ask(port, "/healthz")[2] == "starting\n"
    server.sample = sample()
    assert ask(port, "/healthz")[2] == "ok\nastropix: live\n"


def test_before_the_first_sample_the_process_alone_has_metrics(server, port):
    server.sample = None
    status, _, text = ask(port, "/metrics")
    assert (status, "process_" in text, "astropix_relay_" in text) == (200, True, False)


def test_clients_that_drip_are_cut_off_and_others_served_then(port):
    begin_s = time.monotonic()
    with drippers(port, MAX_CLIENTS) as ends:
        wait_until(lambda: len(served()) == MAX_CLIENTS)
        assert wait_until_answered(port) == 200
        wait_until(lambda: len(ends) == MAX_CLIENTS)
    assert min(ends) - begin_s > REQUEST_S - 0.1
    assert max(ends) - begin_s < REQUEST_S + SLACK_S


def test_a_client_that_does_not_read_is_cut_off(server, port, monkeypatch):
    monkeypatch.setattr(server, "_metrics_app", lambda _, start: start("200 OK", []) or [bytes(64 << 20)])
    begin_s = time.monotonic()
    with connect(port) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        wait_until(served)
        wait_until(lambda: not served())
    assert REQUEST_S - 0.1 < time.monotonic() - begin_s < REQUEST_S + SLACK_S


def test_of_many_idle_connections_eight_have_a_thread_and_the_others_are_closed_at_once(port):
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(connect(port)) for _ in range(100)]
        begin_s = time.monotonic()
        assert [read_all(client) for client in clients[MAX_CLIENTS:]] == [b""] * (100 - MAX_CLIENTS)
        assert time.monotonic() - begin_s < REQUEST_S / 2
        assert len(served()) == MAX_CLIENTS
        assert wait_until_answered(port) == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET /metrics HTTP/1.1\r\n" + (b"X: " + b"x" * 60_000 + b"\r\n") * 99 + b"\r\n",
        b"GET /" + b"x" * (1 << 20),
        b"GET /metrics HTTP/1.1\r\nX: " + b"x" * (1 << 20),
        b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 100_000,
        b"x" * (1 << 20),
        b"\r\n" * (1 << 19),
    ],
)
def test_huge_headers_are_refused_before_they_are_in_memory(port, head):
    """The first would be within http.client's own bounds."""
    tracemalloc.start()
    try:
        with connect(port) as client:
            with contextlib.suppress(OSError):
                client.sendall(head)
            answer = read_all(client)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    # A reset, for what was not read, may overtake the answer.
    assert not answer or answer.split()[1] in (b"400", b"431")
    assert ask(port, "/metrics")[0] == 200


def test_headers_just_within_bounds_are_fine(port):
    assert ask(port, "/metrics", X="x" * (MAX_REQUEST - 200))[0] == 200


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"\r\n\r\n", b"GET", b"GET / HTTP/9.9\r\n\r\n", b"GET /metrics\r\n\r\n"]
)
def test_rude_clients_do_not_stop_it(port, data, capfd):
    with connect(port) as rude:
        rude.sendall(data)
        rude.shutdown(socket.SHUT_WR)
        read_all(rude)
    assert ask(port, "/metrics")[0] == 200
    assert capfd.readouterr().err == ""


def test_closing_waits_for_no_client(server, port):
    with drippers(port, MAX_CLIENTS) as ends, connect(port):
        wait_until(lambda: len(served()) == MAX_CLIENTS)
        assert all(thread.daemon for thread in served())
        begin_s = time.monotonic()
        server.close()
        took_s = time.monotonic() - begin_s
        for thread in served():
            thread.join(1)
        assert (took_s < 0.1, served()) == (True, [])
        wait_until(lambda: len(ends) == MAX_CLIENTS)
    with pytest.raises(ConnectionRefusedError):
        connect(port)
    server.close()


def test_an_idle_one_closes_at_once():
    took_s = []
    for _ in range(5):
        server = MetricsServer(Address("127.0.0.1", 0), metrics, states)
        begin_s = time.monotonic()
        server.close()
        took_s.append(time.monotonic() - begin_s)
    assert sorted(took_s)[2] < 0.02


def test_without_descriptors_it_waits_and_goes_on(server, port, monkeypatch):
    tries = []

    def refuse(_):
        tries.append(time.monotonic())
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as without:
        without.setattr(WSGIServer, "get_request", refuse)
        with connect(port):
            time.sleep(0.5)
    assert 2 <= len(tries) <= 8
    wait_until_answered(port)


def test_ipv6():
    server = MetricsServer(Address("::1", 0), metrics, states)
    assert server.url.startswith("http://[::1]:")
    server.close()


def test_a_port_that_is_taken(port):
    with pytest.raises(OSError, match="in use"):
        MetricsServer(Address("127.0.0.1", port), metrics, states)
