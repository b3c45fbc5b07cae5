"""The places where a readout can be lost: one enumeration for all that counts or shows losses. Pure."""

from enum import StrEnum


class Place(StrEnum):
    """Where a readout was lost, in the order of its way; the text completes '12 lost …'.

    `key` names it for programs: in JSON, in metrics, in the API of the page. Programs that read them have to
    expect places that they do not know: a longer way has more of them.
    """

    BEFORE_SOCKET = "before the socket"
    """In the DAQ host, the network or the interface: it never came to the socket that joined the group."""
    RELAY_KERNEL = "in the relay's kernel"
    RELAY_REJECTED = "rejected by the relay"
    BETWEEN_RELAYS = "between relays"
    """On the way from one relay to the next, which takes the stream from it: the beats' `hops` say which."""
    RELAY_TO_LOG = "between relay and log"
    """The relay gave it a number, and it was never stored: the bridge came too late to ask for it again."""
    NO_LONGER_KEPT = "no longer kept"
    """The log had it, and has removed it by age, by size or by hand before we read it."""
    RELAY_TO_CLIENT = "between relay and here"
    CLIENT_KERNEL = "in this host's kernel"
    CLIENT_REJECTED = "rejected here"
    EVERY_PATH = "on every path"
    """Several receivers of the same readouts each lost it; their own accounts say where."""
    CLIENT_QUEUE = "in this program"
    """It came too slowly for its queue, or skipped on purpose."""
    CLIENT_AWAY = "while this program was not running"
    """The page was started again; of what was sent meanwhile, no history had this."""

    @property
    def key(self) -> str:
        """Its name for programs."""
        return self.name.lower()

    @property
    def is_kernel(self) -> bool:
        """Whether it is a kernel, whose drops carry no source: their number may be too large."""
        return self in (Place.RELAY_KERNEL, Place.CLIENT_KERNEL)
