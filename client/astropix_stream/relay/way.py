"""The way to a relay: from its endpoint to the address that ZeroMQ is to connect to."""

from astropix_stream import addresses, names
from astropix_stream.errors import ConfigError
from astropix_stream.relay.candidates import Candidates

_PROMPT_S = 0.5  # in which a name service mostly answers


class Way:
    """Finds the address to connect to: of a host's name each in turn, as long as none leads to the relay.

    ZeroMQ itself would take the first address of one family, and never another.

    Parameters
    ----------
    endpoint
        ``tcp://HOST:PORT``; one of another kind is left as it is.

    Raises
    ------
    ConfigError
        It is something else.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.host, self._port = _parse(endpoint)
        self._lookup: names.Lookup | None = None
        self._candidates: Candidates | None = None

    @property
    def address(self) -> str | None:
        """The endpoint to connect to, without a name; None while none is known."""
        if not self.host:
            return self._endpoint
        return None if self._candidates is None else self._to(self._port)

    @property
    def several(self) -> bool:
        """Whether there are several addresses to try."""
        return self._candidates is not None and self._candidates.several

    @property
    def is_last(self) -> bool:
        """Whether no other address is left to try in this round."""
        return self._candidates is None or self._candidates.is_last

    @property
    def lookup(self) -> names.Lookup | None:
        """The question to the name service that is under way."""
        return self._lookup

    def beside(self, port: int) -> str:
        """Return the endpoint of another port at the address in use."""
        return self._to(port) if self.host else f"{self._endpoint.rpartition(':')[0]}:{port}"

    def _to(self, port: int) -> str:
        assert self._candidates is not None
        return f"tcp://{addresses.joined(self._candidates.address, port)}"

    def begin(self, now_s: float, *, prompt: bool = False) -> None:
        """Look the name up, for the first time or again; with `prompt` wait a moment for the answer."""
        if not self.host:
            return
        if addresses.is_address(self.host):
            self._candidates = Candidates([self.host], now_s)
            return
        self.close()
        self._lookup = names.Lookup(self.host)
        if prompt:
            self._take_answer(self._lookup, now_s, _PROMPT_S)

    def look(self, now_s: float) -> bool:
        """Take the name service's answer; return whether it gives another address to connect to."""
        return self._lookup is not None and self._take_answer(self._lookup, now_s, 0.0)

    def _take_answer(self, lookup: names.Lookup, now_s: float, wait_s: float) -> bool:
        found = lookup.wait(wait_s)
        if found is None:
            return False
        self.close()
        if self._candidates is not None and self._candidates.are(found):
            return False
        self._candidates = Candidates(found, now_s)
        return True

    def failed(self, now_s: float) -> bool:
        """Note that the present address leads to no relay; return whether to connect to another one now."""
        return self._candidates is not None and self._candidates.failed(now_s)

    def worked(self, now_s: float) -> None:
        """Note that the present address leads to the relay."""
        if self._candidates is not None:
            self._candidates.worked(now_s)

    def close(self) -> None:
        """Stop asking."""
        if self._lookup is not None:
            self._lookup.close()
            self._lookup = None


def _parse(endpoint: str) -> tuple[str, int]:
    """Return host and port of a TCP endpoint; no host for one of another kind."""
    scheme, _, where = endpoint.partition("://")
    if scheme != "tcp" and where:
        return "", 0
    host, _, port = where.rpartition(":")
    if host.startswith("[") and host.endswith("]") and addresses.is_address(host[1:-1]):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ConfigError(f"{endpoint!r} is not tcp://HOST:PORT")
    return host, int(port)
