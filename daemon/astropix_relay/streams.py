"""A stream's way through the relay: its way in, and what is published of it."""

from typing import NamedTuple

from astropix_relay.configuration.model import StreamConfig
from astropix_relay.core import StreamCore
from astropix_relay.forwarding import ForwardingCore
from astropix_relay.inlet import Inlet
from astropix_relay.upstream import Upstream


class GroupStream(NamedTuple):
    """The way of a stream that comes from a group."""

    inlet: Inlet
    core: StreamCore

    def reconfigure(self, config: StreamConfig) -> None:
        """Take up another configuration."""
        self.inlet.reconfigure(config)
        self.core.ledger.stride = config.stride

    def told(self) -> tuple[int | None, int]:
        """Return the kind of its readouts, None where that is not known yet, and its stride."""
        return self.inlet.config.readout_uid, self.core.ledger.stride


class CascadeStream(NamedTuple):
    """The way of a stream that comes from other relays."""

    inlet: Upstream
    core: ForwardingCore

    def reconfigure(self, config: StreamConfig) -> None:
        """Take up other relays; one that is opened now begins where the others are."""
        self.inlet.note_position(self.core.confluence.at)
        self.inlet.reconfigure(config)
        self.core.use_paths(config.upstreams)

    def told(self) -> tuple[int | None, int]:
        """Return the kind of its readouts, None where that is not known yet, and its stride."""
        return self.inlet.readout_uid if self.core.known else None, self.inlet.stride or 1


Stream = GroupStream | CascadeStream
