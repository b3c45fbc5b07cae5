"""Plays scenes to a client: a relay's two sockets, and the client's report, line by line."""

import contextlib
import heapq
import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any

import zmq

from astropix_stream import errors, wire, zeromq
from astropix_stream.cli.conforming import scenes
from astropix_stream.cli.conforming.scenes import Asked, Observed, Scene, Shelf, Step
from astropix_stream.errors import AstropixError, ConfigError, WireError

JOIN_S = 15.0  # for a client to start and to subscribe
_SETTLE_S = 0.2  # for its further subscriptions
_GRACE_S = 2.0  # for its last report
_BIND_S = 5.0  # for ZeroMQ to let go of the scene before
_END_S = 2.0  # for a client to end by itself
_STREAM_DATA = wire.data_topic("astropix")


class ClientError(AstropixError):
    """The client did not take part in a scene."""


class Client:
    """A client's output, read by a thread of its own; the last line that is a report counts.

    Parameters
    ----------
    stream
        Its standard output, or what it is piped into.
    process
        The client, if it is started here.
    """

    def __init__(self, stream: IO[str], process: "subprocess.Popen[str] | None" = None) -> None:
        self._process = process
        self._lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._latest: dict[str, Any] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    @classmethod
    def start(cls, command: Sequence[str]) -> "Client":
        """Start a client.

        Raises
        ------
        ConfigError
            It cannot be started.
        """
        try:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, errors="replace", start_new_session=True
            )
        except OSError as error:
            raise ConfigError(f"cannot start {command[0]}: {error.strerror}") from None
        assert process.stdout is not None
        return cls(process.stdout, process)

    def _read(self, stream: IO[str]) -> None:
        with contextlib.suppress(ValueError):  # closed
            for line in stream:
                report = scenes.parse_report(line)
                if report is not None:
                    self._lines.put(report)
        self._ended.set()

    @property
    def report(self) -> dict[str, Any] | None:
        """Its last report; None before the first."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._latest = self._lines.get_nowait()
        return self._latest

    @property
    def ended(self) -> bool:
        """Whether its output has ended."""
        return self._ended.is_set()

    @property
    def can_sleep(self) -> bool:
        """Whether its process can be stopped and continued."""
        return self._process is not None and hasattr(signal, "SIGSTOP")

    def stop_for_a_while(self, stopped: bool) -> None:
        """Stop its process, or let it go on."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGSTOP if stopped else signal.SIGCONT)

    def close(self) -> None:
        """End it, if it was started here."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(_END_S)
        if self._process.stdout is not None:
            self._process.stdout.close()


class Stage:
    """A relay's two sockets for one scene: where readouts are published, and where history is asked.

    Parameters
    ----------
    endpoint
        ``tcp://HOST:PORT``; history is at PORT + 1.
    scene
        What to play.

    Raises
    ------
    OSError
        An address is in use, or none of this host.
    """

    def __init__(self, endpoint: str, scene: Scene) -> None:
        self._scene = scene
        host, _, port = endpoint.rpartition(":")
        self._history_port = int(port) + 1
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._publisher = self._open(zmq.XPUB, endpoint)
        try:
            self._publisher.setsockopt(zmq.XPUB_VERBOSER, 1)
            self._publisher.setsockopt(zmq.XPUB_WELCOME_MSG, self._patched(scene.hello))
            self._monitor = self._publisher.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
            self._history = self._open(zmq.ROUTER, f"{host}:{self._history_port}")
            _bind(self._publisher, endpoint)
            _bind(self._history, f"{host}:{self._history_port}")
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._shelf = Shelf(scene)
        self._asked: list[Asked] = []
        self._answers: list[tuple[float, int, list[bytes]]] = []
        self._numbers = itertools.count()
        self._began_s = time.monotonic()

    def _open(self, kind: int, endpoint: str) -> "zmq.Socket[bytes]":
        sock = self._context.socket(kind)
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.IPV6, int(zeromq.needs_ipv6(endpoint)))
        return sock

    def _patched(self, frame: bytes) -> bytes:
        return scenes.with_history_port(frame, self._history_port)

    def play(self, client: Client) -> Observed:
        """Play the scene to a client that subscribes; return what it did.

        Raises
        ------
        ClientError
            It did not subscribe in time, or ended.
        """
        self._wait_for_subscription(client)
        self._take_connections()
        self._began_s = time.monotonic()
        asleep_until_s: float | None = None
        for step in self._scene.steps:
            if asleep_until_s is not None and step.at_s >= asleep_until_s:
                client.stop_for_a_while(False)
                asleep_until_s = None
            self._serve_until(step.at_s)
            if step.sleep_until_s is not None:
                client.stop_for_a_while(True)
                asleep_until_s = step.sleep_until_s
            self._perform(step)
        self._serve_until(self._scene.end_s)
        reconnections = self._take_connections()
        observed = Observed(client.report, self._asked, reconnections)
        deadline_s = self._scene.end_s + _GRACE_S
        while scenes.compare(self._scene, observed) and self._now_s() < deadline_s and not client.ended:
            self._serve_until(self._now_s() + 0.1)
            observed = Observed(client.report, self._asked, reconnections)
        return observed

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    def _wait_for_subscription(self, client: Client) -> None:
        deadline_s = time.monotonic() + JOIN_S
        while not self._subscribed():
            if client.ended:
                raise ClientError("the client ended before it had subscribed")
            if time.monotonic() > deadline_s:
                raise ClientError(f"no subscription to {_STREAM_DATA.decode()} came within {JOIN_S:.0f} s")
            self._publisher.poll(100)
        time.sleep(_SETTLE_S)

    def _subscribed(self) -> bool:
        """Read what subscribers sent; return whether something covers the stream."""
        found = False
        with contextlib.suppress(zmq.Again):
            while True:
                frame = self._publisher.recv_multipart(zmq.NOBLOCK)[0]
                found = found or (frame[:1] == b"\x01" and _STREAM_DATA.startswith(frame[1:]))
        return found

    def _take_connections(self) -> int:
        """Return how many handshakes have succeeded since the last call."""
        count = 0
        with contextlib.suppress(zmq.Again):
            while True:
                self._monitor.recv_multipart(zmq.NOBLOCK)
                count += 1
        return count

    def _perform(self, step: Step) -> None:
        if not step.frames:
            return
        self._shelf.publish(step.frames)
        if step.lost:
            return
        frames = [*step.frames[:-1], self._patched(step.frames[-1])]
        if len(frames) == 1:  # a hello: every new connection is told; those that are there hear it now
            self._publisher.setsockopt(zmq.XPUB_WELCOME_MSG, frames[0])
            if step.at_s == 0.0:
                return
        self._publisher.send_multipart(frames)

    def _serve_until(self, at_s: float) -> None:
        """Answer requests until a time of the scene; take subscriptions in, too."""
        poller = zmq.Poller()
        for sock in (self._publisher, self._history):
            poller.register(sock, zmq.POLLIN)
        while (left_s := at_s - self._now_s()) > 0:
            due_s = self._answers[0][0] - self._now_s() if self._answers else left_s
            poller.poll(max(0, int(min(left_s, due_s) * 1000)) + 1)
            self._subscribed()
            self._take_requests()
            self._send_answers()

    def _take_requests(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                connection, *frames = self._history.recv_multipart(zmq.NOBLOCK)
                self._asked.append(Asked(self._now_s(), connection, tuple(frames)))
                self._note_answer(connection, frames)

    def _note_answer(self, connection: bytes, frames: list[bytes]) -> None:
        envelope = [connection, b""] if frames[:1] == [b""] else [connection]
        try:
            answer = self._shelf.answer(wire.parse_request(frames[-1]))
        except (WireError, IndexError):
            return  # `compare` tells of it
        if answer is not None:
            after_s, parts = answer
            due = (self._now_s() + after_s, next(self._numbers), [*envelope, *parts])
            heapq.heappush(self._answers, due)

    def _send_answers(self) -> None:
        while self._answers and self._answers[0][0] <= self._now_s():
            self._history.send_multipart(heapq.heappop(self._answers)[2])

    def close(self) -> None:
        """Close both sockets."""
        self._publisher.disable_monitor()
        self._context.destroy(linger=0)


def _bind(sock: "zmq.Socket[bytes]", endpoint: str) -> None:
    """Bind; the scene before may have closed its socket only just now."""
    deadline_s = time.monotonic() + _BIND_S
    while True:
        try:
            sock.bind(endpoint)
            return
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE or time.monotonic() > deadline_s:
                refused = OSError(error.errno, os.strerror(error.errno or 0))
                raise errors.with_context(refused, f"cannot listen on {endpoint}", tcp=True) from None
            time.sleep(0.05)


@contextlib.contextmanager
def client_of(command: Sequence[str]) -> Iterator[Client]:
    """Start the client, or read the reports of one that is piped into this process."""
    client = Client.start(command) if command else Client(sys.stdin)
    try:
        yield client
    finally:
        client.close()


def play(scene: Scene, endpoint: str, command: Sequence[str]) -> list[scenes.Fault]:
    """Play one scene to a client that `command` starts, or that is piped into this process.

    Returns
    -------
    list of Fault
        What it did otherwise than docs/protocol.md says; none where all is well.
    """
    stage = Stage(endpoint, scene)
    try:
        with client_of(command) as client:
            return scenes.compare(scene, stage.play(client))
    except ClientError as error:
        return [scenes.Fault("client", str(error), "in-short")]
    finally:
        stage.close()
