"""Requests of mirrors that nobody has answered: when to send them again. Pure.

A mirror asks the stream's own server for a consumer. nats-server waits 30 s for the answer, and after each
failure longer before it asks again, up to 2 min; what it asked while the line was cut is lost, and since
version 2.14 a line that comes back does not make it ask earlier (nats-server's pull request 8111). Asked
again in its name, with its address for the answer, it goes on at once.
"""

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

AGAIN_S = 1.0  # between tries
GIVEN_UP_S = 29.0  # after which nats-server no longer waits for the answer


class _Asked(NamedTuple, Generic[T]):
    request: T
    at_s: float
    again_s: float


class Requests(Generic[T]):
    """Requests by the address that their answer goes to."""

    def __init__(self) -> None:
        self._asked: dict[str, _Asked[T]] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def note(self, reply: str, request: T, now_s: float) -> None:
        """Note a request, the first time that it is seen: we see our own repetitions, too."""
        self._asked.setdefault(reply, _Asked(request, now_s, now_s + AGAIN_S))

    def answered(self, reply: str) -> bool:
        """Note an answer; return whether it was one to a request that is known."""
        return self._asked.pop(reply, None) is not None

    def due(self, now_s: float) -> list[tuple[str, T]]:
        """Return what to send again, with the address for the answer; forget what nobody waits for."""
        asked = self._asked
        self._asked = {reply: one for reply, one in asked.items() if now_s - one.at_s < GIVEN_UP_S}
        due = [(reply, one.request) for reply, one in self._asked.items() if now_s >= one.again_s]
        for reply, _ in due:
            self._asked[reply] = self._asked[reply]._replace(again_s=now_s + AGAIN_S)
        return due
