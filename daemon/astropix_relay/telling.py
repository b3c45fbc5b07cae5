"""What the relay tells of itself besides what it publishes: metrics, and the line of ``systemctl status``."""

import time
from typing import TYPE_CHECKING

from astropix_relay.clients.endpoints import Endpoints
from astropix_relay.configuration.model import Config
from astropix_relay.host import logs, queues
from astropix_relay.outlet import Outlets
from astropix_relay.samples import Sample, StreamSample, Turns
from astropix_relay.streams import Stream, Streams
from astropix_stream import __version__, clock
from astropix_stream.multicast.rejoining import Cause

if TYPE_CHECKING:
    from astropix_daemon.metrics_server import MetricsServer


class Telling:
    """Looks at all parts of a relay; called by the loop's thread.

    Parameters
    ----------
    relay_id
        Random number of this start of the relay.
    endpoints, streams, outlets, turns, log
        The parts.
    """

    def __init__(
        self,
        relay_id: int,
        endpoints: Endpoints,
        streams: Streams,
        outlets: Outlets,
        *,
        turns: Turns,
        log: logs.SummingHandler | None,
    ) -> None:
        self._relay_id = relay_id
        self._endpoints = endpoints
        self._streams = streams
        self._outlets = outlets
        self._turns = turns
        self._log = log
        self._told = (time.monotonic(), 0)

    def status(self) -> str:
        """Return in one line what happened since the last call, for ``systemctl status``."""
        (then_s, before), now_s = self._told, time.monotonic()
        streams = self._streams.all
        published = sum(stream.core.sequence for stream in streams)
        self._told = (now_s, published)
        return "; ".join(
            (
                f"{(published - before) / max(now_s - then_s, 1e-3):.0f} readouts/s",
                f"{self._endpoints.publisher.subscriptions} subscriptions",
                *(f"{stream.core.name} {stream.inlet.membership}" for stream in streams),
            )
        )

    def sample(self) -> Sample:
        """Return everything there is to watch, as of now."""
        now = clock.now()
        publisher, archive, gate = self._endpoints.publisher, self._endpoints.archive, self._endpoints.gate
        return Sample(
            at_s=now.s,
            version=__version__,
            relay_id=self._relay_id,
            streams=[_sample_stream(stream, now) for stream in self._streams.all],
            outlets=self._outlets.sample(),
            doors=[door.sample(now.s) for door in gate.doors.values()],
            subscriptions=publisher.subscriptions,
            ignored=publisher.ignored,
            requests={} if archive is None else archive.requests(),
            turns=tuple(self._turns.counts),
            turns_s=self._turns.total_s,
            refused_addresses=gate.bans.count(now.s),
            dropped_log_lines=0 if self._log is None else self._log.dropped,
            reassembly_failures=queues.reassembly_failures(),
        )


def _sample_stream(stream: Stream, now: clock.Moment) -> StreamSample:
    inlet, core = stream
    report = core.report(now)
    rejoins = {str(cause): inlet.rejoins[cause] for cause in Cause}
    return StreamSample(core.name, report, core.messages, core.bytes, inlet.memory(), rejoins)


def open_metrics(config: Config) -> "MetricsServer[Sample] | None":
    """Serve metrics, if the configuration asks for them."""
    if config.metrics.listen is None:
        return None
    from astropix_daemon import metrics_server  # noqa: PLC0415  (brings prometheus_client)
    from astropix_relay.metrics import metrics, states  # noqa: PLC0415

    return metrics_server.serve(config.metrics.listen, metrics, states)
