"""Why a relay does not let us in, from what ZeroMQ tells of a connection's handshakes. Pure."""

import errno
from enum import Enum, auto


class HandshakeEnd(Enum):
    """How the handshake of a connection ended."""

    SUCCEEDED = auto()
    FAILED_AUTH = auto()
    """The relay refused us; the value is its status code (RFC 27)."""
    OTHER_SECURITY = auto()
    """One side is encrypted, the other is not."""
    FAILED_PROTOCOL = auto()
    """The value is ZeroMQ's number of the error."""
    BROKEN_OFF = auto()
    """Without a word; the value is the errno."""


# A client that was in before may find its own dead connection in its place, until the relay's keepalive
# (11 s) or its retransmissions (15 s) end that.
REFUSAL_PATIENCE_S = 20.0
KEY_PATIENCE_S = 1.0
"""A key that is not on the list does not come back by itself; the list may be on its way."""
KEY_REFUSED = 400
"""The status code of a relay whose list does not hold our key; 500 is one that cannot take us now."""
_FOR_A_WHILE = "refuses our address for a while (its log says which)"
_MAX_BROKEN_OFF = 3  # handshakes in a row; one may be a relay that was just stopped


class Handshakes:
    """Follows the handshakes of one receiver, over all its connections.

    Parameters
    ----------
    encrypted
        Whether the receiver has keys.
    """

    def __init__(self, *, encrypted: bool) -> None:
        self._encrypted = encrypted
        self._was_in = False
        self._broken_off = 0
        self._since_s: float | None = None
        self._reason = ""
        self._patience_s = REFUSAL_PATIENCE_S

    def note(self, event: HandshakeEnd, value: int, now_s: float) -> None:
        """Note how a handshake ended."""
        if event is HandshakeEnd.SUCCEEDED:
            self._was_in, self._broken_off, self._since_s, self._reason = True, 0, None, ""
            return
        reason = self._explain(event, value)
        if reason:
            self._reason = reason
            is_key = self._encrypted and event is HandshakeEnd.FAILED_AUTH and value == KEY_REFUSED
            self._patience_s = KEY_PATIENCE_S if is_key else REFUSAL_PATIENCE_S
            self._since_s = now_s if self._since_s is None else self._since_s

    def take_refusal(self, now_s: float) -> str | None:
        """Return why we are refused, once for each refusal; None as long as there is hope."""
        if self._since_s is None or not self._reason:
            return None
        if self._was_in and now_s - self._since_s < min(self._patience_s, REFUSAL_PATIENCE_S):
            return None
        reason, self._reason = self._reason, ""
        return reason

    def _explain(self, event: HandshakeEnd, value: int) -> str:
        if event is HandshakeEnd.FAILED_AUTH:
            full = "it has as many clients as it takes (publish.max_clients)"
            if value >= 500:
                return f"it could not look up its list of clients, or {full}, or it {_FOR_A_WHILE}"
            return f"our key is not in its list, or {full}" if self._encrypted else full
        if event is HandshakeEnd.OTHER_SECURITY:
            return (
                "it is not encrypted: leave out server_key and key_file"
                if self._encrypted
                else "it is encrypted: give server_key and key_file"
            )
        if event is HandshakeEnd.FAILED_PROTOCOL:
            return f"it does not speak ZeroMQ's protocol (error {value:#x})"
        self._broken_off += value != errno.EAGAIN  # EAGAIN: it only was too slow
        if self._broken_off < _MAX_BROKEN_OFF:
            return ""
        key = "server_key may not be its key, it may not be" if self._encrypted else "it may be"
        return f"it breaks off the handshake: {key} encrypted, or it is not a relay"
