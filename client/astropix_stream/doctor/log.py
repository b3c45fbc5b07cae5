"""A log, step by step as a reader meets it: server, credentials, JetStream, stream, permission, age. Pure.

`log_probe` goes the way and notes what came of it.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from astropix_stream import numbers
from astropix_stream.doctor.verdict import Fault, Mark, Verdict, fine
from astropix_stream.url import SourceUrl

UNREACHABLE = Fault(
    "log-unreachable",
    "{log} cannot be reached: {reason}",
    "The server does not run, its address is wrong, or a firewall on the way swallows the connection.",
    "check whether the server runs and can be reached at this port",
    "nc -vz {host} {port}",
    blocks=True,
)
REFUSED = Fault(
    "log-refused",
    "{log} refuses this connection: {reason}",
    "The server asks for a user, credentials or an nkey, and what was given is missing, wrong or revoked.",
    "ask the log's operator for credentials, and name them: 'nats://…?creds=me.creds'",
    blocks=True,
)
NO_JETSTREAM = Fault(
    "no-jetstream",
    "{log} answers, but JetStream does not",
    "JetStream is off for this server or account, the log is in another domain, or so few nodes of the "
    "cluster are up that none leads.",
    "start the server with JetStream (`jetstream {{}}` in its configuration), or check which nodes are up",
    blocks=True,
)
NO_SUCH_STREAM = Fault(
    "log-no-such-stream",
    "the log has no stream {stream!r}; it has: {streams}",
    "No bridge has stored a stream of this name there, or somebody has deleted it.",
    "choose one of these streams, or check the bridge",
    "systemctl status 'astropix-bridge@*'",
    blocks=True,
)
NOT_ALLOWED = Fault(
    "log-not-allowed",
    "{log} does not allow it: {reason}",
    "The account lacks permissions that a reader needs; config/nats has an example with all of them.",
    "ask the log's operator for the permissions of a monitor",
    blocks=True,
)
CLOCK = Fault(
    "log-clock",
    "the log's newest message is {age} ahead of this host's clock",
    "The clocks differ. A start or an end that is given as a time then means another moment in the log.",
    "set both clocks by NTP",
    "timedatectl timesync-status",
)
EMPTY = Fault(
    "log-empty",
    "the log's stream {stream!r} is empty",
    "Nothing was stored yet, or the log keeps nothing of this age.",
    "check whether the bridge runs, and what state it reports",
    "systemctl status 'astropix-bridge@*'",
)
OLD = Fault(
    "log-old",
    "the newest readout in the log is {age} old",
    "The DAQ is quiet, or the bridge does not store what comes.",
    "if the relay has newer ones, check the bridge",
    "systemctl status 'astropix-bridge@*'",
)
FAULTS = (UNREACHABLE, REFUSED, NO_JETSTREAM, NO_SUCH_STREAM, NOT_ALLOWED, CLOCK, EMPTY, OLD)
_OLD_S = 10.0
_AHEAD_S = 1.0


class Step(StrEnum):
    """How far we came."""

    CONNECT = "connection"
    ACCESS = "credentials"
    JETSTREAM = "JetStream"
    PERMISSION = "permission"
    STREAM = "stream"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Found:
    """What the log answered.

    Attributes
    ----------
    failed
        The step that did not work; `Step.DONE` if all did.
    reason
        Why, in words.
    server
        The server that answered.
    streams
        The names of the streams that there are.
    messages
        How many the stream holds.
    age_s
        Of the newest one; below 0 if it is ahead of our clock.
    """

    source: SourceUrl
    failed: Step = Step.DONE
    reason: str = ""
    server: str = ""
    stream: str = ""
    streams: tuple[str, ...] = field(default=())
    messages: int = 0
    age_s: float | None = None


def judge(found: Found) -> list[Verdict]:
    """Judge each step that was reached."""
    log = str(found.source).partition("?")[0]
    host, port = found.source.host, found.source.port
    if found.failed is Step.CONNECT:
        return [UNREACHABLE.found("connection", log=log, reason=found.reason, host=host, port=port)]
    verdicts = [fine("connection", f"{found.server or log} answers")]
    if found.failed is Step.ACCESS:
        return [*verdicts, REFUSED.found("credentials", log=log, reason=found.reason)]
    verdicts.append(fine("credentials", "the server lets us in"))
    if found.failed is Step.JETSTREAM:
        return [*verdicts, NO_JETSTREAM.found("JetStream", log=log)]
    if found.failed is Step.PERMISSION:
        return [*verdicts, NOT_ALLOWED.found("permission", log=log, reason=found.reason)]
    verdicts.append(fine("JetStream", "it answers"))
    if found.failed is Step.STREAM:
        have = ", ".join(found.streams) or "none"
        return [*verdicts, NO_SUCH_STREAM.found("stream", stream=found.stream, streams=have)]
    verdicts.append(fine("stream", f"{found.stream} has {numbers.counted(found.messages, 'message')}"))
    return [*verdicts, *_judge_age(found)]


def _judge_age(found: Found) -> list[Verdict]:
    if found.age_s is None:
        return [EMPTY.found("age", mark=Mark.UNKNOWN, stream=found.stream)]
    if found.age_s < -_AHEAD_S:
        return [CLOCK.found("clock", mark=Mark.UNKNOWN, age=numbers.duration(-found.age_s))]
    if found.age_s > _OLD_S:
        return [OLD.found("age", mark=Mark.UNKNOWN, age=numbers.duration(found.age_s))]
    return [fine("age", f"the newest readout is {numbers.duration(max(0.0, found.age_s))} old")]
