"""Receive from a relay: `astropix_stream.relay` under its documented name."""

from astropix_stream.relay import (
    RelayReceiver,
    open_receiver,
)

__all__ = [
    "RelayReceiver",
    "open_receiver",
]
