"""The addresses of a relay, tried one after the other. Pure."""

from collections.abc import Sequence

ROUND_S = 0.25  # before the addresses are tried from the first one again


class Candidates:
    """Goes from an address that fails to the next, and round again, but not without end in a moment.

    To connect to all at once would bring everything twice where two lead to the same relay.

    Parameters
    ----------
    addresses
        At least one, in the order in which to try them.
    now_s
        The time at which the first is tried.
    """

    def __init__(self, addresses: Sequence[str], now_s: float) -> None:
        self._addresses = tuple(addresses)
        self._at = self._began_at = 0
        self._began_s = now_s

    @property
    def address(self) -> str:
        """The address to connect to."""
        return self._addresses[self._at]

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return len(self._addresses) > 1

    @property
    def is_last(self) -> bool:
        """Whether this is the last one that has not been tried in this round."""
        return self._following() == self._began_at

    def are(self, addresses: Sequence[str]) -> bool:
        """Return whether these are the same addresses, in any order."""
        return set(addresses) == set(self._addresses)

    def failed(self, now_s: float) -> bool:
        """Note that the present address leads to no relay; return whether to connect to another one now.

        Else the present one is to be tried once more.
        """
        if not self.several:
            return False
        if self.is_last:
            if now_s < self._began_s + ROUND_S:
                return False
            self._began_s = now_s
            self._began_at = self._following()
        self._at = self._following()
        return True

    def worked(self, now_s: float) -> None:
        """Note that the present address leads to the relay: what is tried next begins here."""
        self._began_at, self._began_s = self._at, now_s

    def _following(self) -> int:
        return (self._at + 1) % len(self._addresses)
