"""The places where a readout can be lost: one enumeration for all that counts or shows losses. Pure."""

from enum import StrEnum


class Place(StrEnum):
    """Where a readout was lost, in the order of its way; the text completes '12 lost …'."""

    BEFORE_SOCKET = "before the socket"
    """In the DAQ host, the network or the interface: it never came to the socket that joined the group."""
    RELAY_KERNEL = "in the relay's kernel"
    RELAY_REJECTED = "rejected by the relay"
    RELAY_TO_CLIENT = "between relay and here"
    CLIENT_KERNEL = "in this host's kernel"
    CLIENT_REJECTED = "rejected here"
    EVERY_PATH = "on every path"
    """Several receivers of the same readouts each lost it; their own accounts say where."""
    CLIENT_QUEUE = "in this program"
    """It came too slowly for its queue, or skipped on purpose."""
