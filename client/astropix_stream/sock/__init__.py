"""Send and receive readouts by UDP multicast: what a DAQ and a monitor on the same network import.

Standard library only. See docs/protocol.md for the datagrams, and `relay` for monitors on other networks.
"""

from astropix_stream.addresses import DEFAULT_GROUP, DEFAULT_PORT
from astropix_stream.sock.receiver import MulticastReceiver
from astropix_stream.sock.sender import MulticastSender, Packable

__all__ = [
    "DEFAULT_GROUP",
    "DEFAULT_PORT",
    "MulticastReceiver",
    "MulticastSender",
    "Packable",
]
