"""Tell a webhook of alarms: a JSON for each, in order, from a thread that holds up nothing else."""

import asyncio
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from astropix_stream import __version__
from astropix_stream.monitor.settings import Webhook

_log = logging.getLogger(__name__)

MAX_WAITING = 1000
"""Messages that wait; the oldest go, and are counted."""
_MAX_ANSWER = 1 << 16  # bytes; what it says is not read
_FIRST_PAUSE_S, _MAX_PAUSE_S = 1.0, 60.0
_GRACE_S = 2.0  # for what still waits at the end
_TRY_AGAIN = (408, 425, 429)  # of the answers that else say that the request itself is wrong


class Attempt(NamedTuple):
    """How one attempt ended: no trouble, or what it was and whether to try again."""

    trouble: str
    again: bool


class _Waiting(NamedTuple):
    body: bytes
    since_s: float


class Courier:
    """Delivers messages to a webhook.

    Parameters
    ----------
    webhook
        Where; None: nowhere, and nothing waits.
    log
        Told what goes wrong and that it goes well again, once each.
    """

    def __init__(self, webhook: Webhook | None, log: Callable[[str], None] = _log.warning) -> None:
        self._webhook = webhook
        self._log = log
        self._changed = threading.Condition()
        self._closed = False
        self._queue: deque[_Waiting] = deque()
        self._delivered = self._given_up = 0
        self._trouble = ""
        self._thread: threading.Thread | None = None

    def send(self, message: Mapping[str, Any]) -> None:
        """Deliver a message as soon as it can be; returns at once."""
        with self._changed:
            if self._webhook is None or self._closed:
                return
            if len(self._queue) >= MAX_WAITING:
                self._queue.popleft()
                self._given_up += 1
            self._queue.append(_Waiting(json.dumps(message).encode(), time.monotonic()))
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="monitor-webhook", daemon=True)
                self._thread.start()

    def replace(self, webhook: Webhook | None) -> None:
        """Deliver to another one from now on; what waits goes there, too."""
        with self._changed:
            self._webhook = webhook
            self._trouble = ""
            if webhook is None:
                self._queue.clear()
            self._changed.notify_all()

    def to_json(self) -> dict[str, Any] | None:
        """Return how it goes; without the path of the address, which often is a secret."""
        with self._changed:
            if self._webhook is None:
                return None
            return {
                "host": place_of(self._webhook),
                "delivered": self._delivered,
                "waiting": len(self._queue),
                "given_up": self._given_up,
                "trouble": self._trouble,
            }

    def close(self) -> None:
        """Try for two more seconds to deliver what waits, and end; a second call does nothing."""
        with self._changed:
            self._changed.wait_for(lambda: not self._queue, _GRACE_S)
            left, self._closed = len(self._queue), True
            self._changed.notify_all()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(_GRACE_S)  # it may be in the middle of an attempt
        if left:
            self._log(f"{left} messages on alarms were not delivered to the webhook")

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._queue)
                if self._closed:
                    return
                first, webhook = self._queue[0], self._webhook
            if webhook is None:
                continue
            attempt = asyncio.run(post(webhook, first.body))
            with self._changed:
                again = self._note(first, webhook, attempt)
                if not again:
                    pause_s = _FIRST_PAUSE_S
                    continue
                self._wait_or_change(webhook, pause_s)
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)

    def _wait_or_change(self, webhook: Webhook, pause_s: float) -> None:
        self._changed.wait_for(lambda: self._closed or self._webhook is not webhook, pause_s)

    def _note(self, first: _Waiting, webhook: Webhook, attempt: Attempt) -> bool:
        """Note how it ended; return whether to try again."""
        if self._webhook is not webhook:
            return False  # the next attempt goes to the new one
        if attempt.trouble and not self._trouble:
            self._log(f"the webhook at {place_of(webhook)}: {attempt.trouble}")
        elif self._trouble and not attempt.trouble:
            self._log(f"the webhook at {place_of(webhook)} is reached again")
        self._trouble = attempt.trouble
        if attempt.again and time.monotonic() - first.since_s < webhook.give_up_after:
            return True
        if attempt.trouble:
            self._given_up += 1
        else:
            self._delivered += 1
        if self._queue and self._queue[0] is first:
            self._queue.popleft()
        self._changed.notify_all()
        return False


def place_of(webhook: Webhook) -> str:
    """Return where a webhook is, without its path and password."""
    parts = urlsplit(webhook.url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


async def post(webhook: Webhook, body: bytes) -> Attempt:
    """Try once to deliver a message."""
    client = SimpleAsyncHTTPClient(force_instance=True, max_body_size=_MAX_ANSWER)
    request = HTTPRequest(
        webhook.url,
        method="POST",
        headers={
            "Content-Type": "application/json",
            "User-Agent": f"astropix-stream/{__version__}",
            **webhook.headers,
        },
        body=body,
        connect_timeout=webhook.timeout,
        request_timeout=webhook.timeout,
        follow_redirects=False,
    )
    try:
        await client.fetch(request)
    except HTTPClientError as error:
        if error.code == 599:  # tornado's: no answer in time, or the connection was closed
            return Attempt(f"no answer ({error.message})", True)
        again = error.code >= 500 or error.code in _TRY_AGAIN
        words = f"it answers {error.code} {error.message}" + ("" if again else "; not tried again")
        return Attempt(" ".join(words.split())[:200], again)
    except Exception as error:  # whatever a server or a resolver does, alarms go on
        return Attempt(" ".join(f"{error or type(error).__name__}".split())[:200], True)
    finally:
        client.close()
    return Attempt("", False)
