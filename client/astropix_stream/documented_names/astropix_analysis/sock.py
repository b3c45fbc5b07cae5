"""Send and receive readouts by UDP multicast: `astropix_stream.sock` under its documented name."""

from astropix_stream.sock import (
    DEFAULT_GROUP,
    DEFAULT_PORT,
    MulticastReceiver,
    MulticastSender,
    Packable,
)

__all__ = [
    "DEFAULT_GROUP",
    "DEFAULT_PORT",
    "MulticastReceiver",
    "MulticastSender",
    "Packable",
]
