"""Send readouts when they are due: what `apx send` and `apx simulate` share."""

import errno
import json
import os
import time
from collections.abc import Iterable
from typing import Any

from astropix_stream import numbers
from astropix_stream.cli.playing.replay import BadNetwork, Due, restamp
from astropix_stream.cli.terminal import progress
from astropix_stream.sock import MulticastSender

_LONG_WAIT_S = 1.5  # from which on the next readout is announced: the command would look hung
_STEP_S = 0.1  # of waiting, between looks at the display
_MAX_LAG_S = 1.0  # behind the plan: then the plan moves, so that a pause is not made up for in a flood


class Player:
    """Sends readouts at their time, and counts.

    Parameters
    ----------
    sender
        Where to.
    now
        Give each readout the time at which it is sent for its timestamp.
    duration_s
        How long it will take; None if there is no end.
    network
        What happens to the datagrams on the way.
    """

    def __init__(
        self,
        sender: MulticastSender,
        *,
        now: bool,
        duration_s: float | None = None,
        network: BadNetwork | None = None,
    ) -> None:
        self._sender = sender
        self._now = now
        self._duration_s = duration_s
        self._network = BadNetwork() if network is None else network
        self._start_s = time.monotonic()
        self._plan_s = self._start_s
        self._end_s: float | None = None
        self.played = 0
        self.bytes = 0

    def play(self, dues: Iterable[Due], display: progress.Progress) -> bool:
        """Send until there are no more readouts, or until Ctrl-C; return whether it was that."""
        self._start_s = self._plan_s = time.monotonic()
        try:
            with display:
                for due in dues:
                    self._wait(due.after_s, display)
                    raw = restamp(due.raw, time.time_ns()) if self._now else due.raw
                    self._send(self._network.carry(raw))
                    self.played += 1
            self._send(self._network.rest())
        except KeyboardInterrupt:
            return True
        finally:
            self._end_s = time.monotonic()
        return False

    def _send(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            self.bytes += self._sender.send_data(datagram)

    def _wait(self, after_s: float, display: progress.Progress) -> None:
        now_s = time.monotonic()
        self._plan_s = max(self._plan_s, now_s - after_s - _MAX_LAG_S)
        if self._plan_s + after_s - now_s > _LONG_WAIT_S:
            display.show(now_s, self.played, self._note(now_s, after_s))
        while (left := self._plan_s + after_s - now_s) > 0:
            if display.due(now_s):
                display.show(now_s, self.played, self._note(now_s, after_s))
            time.sleep(min(left, _STEP_S))
            now_s = time.monotonic()
        if display.due(now_s):
            display.show(now_s, self.played, self._note(now_s, after_s))

    def _note(self, now_s: float, after_s: float) -> str:
        """Say when the next readout is due, or all is done."""
        wait_s = self._plan_s + after_s - now_s
        if wait_s > _LONG_WAIT_S:
            return f"next readout in {wait_s:.0f} s"
        if self._duration_s is None:
            return ""
        return f"{numbers.duration(max(0.0, self._plan_s + self._duration_s - now_s))} left"

    @property
    def seconds(self) -> float:
        """For how long it has sent."""
        return (self._end_s or time.monotonic()) - self._start_s

    @property
    def incomplete(self) -> bool:
        """Whether the network did not take some readouts."""
        return bool(self._sender.not_sent)

    def summary(self) -> str:
        """Return the line for the end."""
        sender, network = self._sender, self._network
        pace = f" ({numbers.rate(sender.sent / self.seconds)})" if sender.sent > 1 else ""
        text = (
            f"sent {numbers.counted(sender.sent, 'readout')}, {numbers.size(self.bytes)}, "
            f"in {numbers.duration(self.seconds)}{pace}, to {sender}"
        )
        for number, count in sender.not_sent.items():
            text += f"; not sent: {count} ({os.strerror(number)})"
        chosen = {"left out": network.lost, "duplicated": network.duplicated, "swapped": network.reordered}
        if any(chosen.values()):
            text += "; deliberately: " + ", ".join(
                f"{count} {what}" for what, count in chosen.items() if count
            )
        return text

    def print_summary(self, *, as_json: bool) -> None:
        """Print the summary for people or for programs."""
        print(json.dumps(self.to_json()) if as_json else self.summary())

    def to_json(self) -> dict[str, Any]:
        """Return the same for programs."""
        sender, network = self._sender, self._network
        return {
            "sent": sender.sent,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "not_sent": {errno.errorcode.get(n, str(n)): count for n, count in sender.not_sent.items()},
            "left_out": network.lost,
            "duplicated": network.duplicated,
            "swapped": network.reordered,
        }
