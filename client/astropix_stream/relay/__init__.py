"""Receive a stream of readouts from a relay, over ZeroMQ: for monitors on networks without multicast."""

from astropix_stream.opening import open_receiver
from astropix_stream.relay.receiver import RelayReceiver

__all__ = ["RelayReceiver", "open_receiver"]
