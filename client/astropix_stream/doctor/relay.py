"""A relay, step by step as a subscriber meets it: name, connection, handshake, key, hello, stream. Pure.

`probe` goes the way and notes what came of it; each function here judges one step, and is silent about a
step that was not reached.
"""

import contextlib
import errno
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from astropix_stream import errors
from astropix_stream.addresses import is_address
from astropix_stream.counting.state import QUIET_AFTER_S, State
from astropix_stream.doctor.hops import judge_hops
from astropix_stream.doctor.path import with_option
from astropix_stream.doctor.verdict import Fault, Verdict, fine
from astropix_stream.errors import WireError
from astropix_stream.fmt import Kind, kind_of
from astropix_stream.links import parse_link
from astropix_stream.url import SourceUrl
from astropix_stream.wire import Hello, check_stream_name

UNKNOWN_NAME = Fault(
    "unknown-name",
    "no address is known for the name {host}",
    "Neither the name service nor /etc/hosts knows the relay's host.",
    "check the name for typing errors, or use the relay's address instead",
    "getent hosts {host}",
)
NOTHING_LISTENS = Fault(
    "nothing-listens",
    "{endpoint} refuses the connection: nothing listens there",
    "The relay does not run, or it publishes on another port, or on its loopback interface only: that is "
    "what it does unless `--publish` or its configuration says otherwise.",
    "start the relay on its host so that other hosts can reach it",
    "astropix-relay run --publish 'tcp://*:{port}'",
)
NO_ANSWER = Fault(
    "no-answer",
    "{endpoint} does not answer: {reason}",
    "The host is off, its address is wrong, there is no route to it, or a firewall on the way swallows the "
    "connection.",
    "check whether the host can be reached at all; open the port in its firewall",
    "ping -c 3 {host}",
)
NOT_ZEROMQ = Fault(
    "not-zeromq",
    "what listens at {endpoint} does not speak ZeroMQ",
    "The port is that of another program.",
    "look up the port in the relay's configuration (publish.endpoint; by default 5556)",
)
NOT_A_RELAY = Fault(
    "not-a-relay",
    "what listens at {endpoint} speaks ZeroMQ, but is not a relay",
    "The port is that of another program, or of the relay's history, which is one above the publisher's.",
    "look up the port in the relay's configuration (publish.endpoint; by default 5556)",
)
KEY_NEEDED = Fault(
    "key-needed",
    "{endpoint} asks for a key",
    "The relay admits only clients whose key it knows (`security:` in its configuration), and no key was "
    "given.",
    "make a pair of keys, give the public one to the relay's operator, and name the relay's key and yours in "
    "the URL: 'tcp://…?server_key=relay.key&key_file=me.key_secret'",
    "astropix-relay keygen ~/keys --name me",
)
KEY_UNNEEDED = Fault(
    "key-unneeded",
    "{endpoint} uses no keys, but one was given",
    "The program would speak encrypted, and the relay does not: it runs without `security:`.",
    "leave the key out, or let the relay's operator turn security on",
)
KEY_REFUSED = Fault(
    "key-refused",
    "{endpoint} refuses the key",
    "The public key is not in the relay's directory of clients, or was removed from it.",
    "give the public key to the relay's operator, who puts it there and reloads the relay",
    "systemctl reload 'astropix-relay@*'",
)
WRONG_SERVER_KEY = Fault(
    "wrong-server-key",
    "{endpoint} breaks off the handshake: the key given as the relay's is not its public key",
    "The relay was given a new pair of keys, or this is another relay.",
    "ask the relay's operator for its present public key",
)
REFUSED = Fault(
    "refused",
    "{endpoint} refuses this connection",
    "The relay serves as many subscribers as it is allowed to (max_clients).",
    "close monitors that nobody needs, or raise max_clients in the relay's configuration",
)
NO_HELLO = Fault(
    "no-hello",
    "{endpoint} connects, but does not greet",
    "It is a ZeroMQ publisher, but not a relay of this protocol: a relay greets each subscriber at once.",
    "look up the port in the relay's configuration (publish.endpoint; by default 5556)",
)
NO_SUCH_STREAM = Fault(
    "no-such-stream",
    "the relay has no stream {stream!r}; it has: {streams}",
    "A subscription to a stream that does not exist never receives anything.",
    "choose one of these streams",
    "apx receive '{url}'",
)
SEVERAL_STREAMS = Fault(
    "several-streams",
    "the relay has several streams, and none is named: {streams}",
    "Without a name a program takes the only stream of a relay; this one has more.",
    "name one of them",
    "apx receive '{url}'",
)
OTHER_KIND_SAID = Fault(
    "other-kind-said",
    "the relay says that the readouts of {stream!r} are {said}, not {expected}",
    "The stream is of another chip, or `readout_uid` in the relay's configuration is not that of the DAQ. "
    "Programs believe the relay, and refuse to decode readouts of one kind as those of another.",
    "choose the stream of the chip, or have the relay's operator correct `readout_uid`",
    "apx receive '{url}' --hits",
)
NO_STREAMS = Fault(
    "no-streams",
    "the relay has no streams",
    "Its configuration names none (`streams:`).",
    "add one to the relay's configuration",
    "astropix-relay check relay.yaml",
)
STREAM_WAITS = Fault(
    "stream-waits",
    "the relay itself waits for the stream {stream!r}: {waits_for}",
    "It is fed by other relays (`from:` in its configuration), and tells nobody of the stream before one of "
    "them has told it, and its history has what they still have.",
    "examine the relay above, from this relay's host",
    "apx doctor {above}",
)
NO_HEARTBEAT = Fault(
    "no-heartbeat",
    "the relay greets, but its stream {stream!r} is silent",
    "A relay sends a heartbeat each second and at each new subscription, also while the DAQ is quiet. The "
    "connection may be too slow, or the relay stuck.",
    "check the relay's log, and restart it if necessary",
    "journalctl -u 'astropix-relay@*' -n 50",
)
RELAY_NOT_JOINED = Fault(
    "relay-not-joined",
    "the relay does not receive the group itself: {membership}",
    "The relay waits for its interface to appear, or to have a route to the group.",
    "look for the cause on the relay's host",
    "apx doctor udp://GROUP:PORT",
)
RELAY_HEARS_NOTHING = Fault(
    "relay-hears-nothing",
    "the relay itself has received no readout {since}",
    "The path from the relay to here works; the readouts do not reach the relay.",
    "look for the cause on the relay's host",
    "apx doctor udp://GROUP:PORT",
)

UPSTREAM_LOST = Fault(
    "upstream-lost",
    "the relay hears none of the relays that it takes the stream from: {membership}",
    "The relay is fed by other relays (`from:` in its configuration), and hears none of them: the line to "
    "them is down, they do not run, or they do not let it in.",
    "examine the relay above, from this relay's host",
    "apx doctor {above}",
)
NOT_OFFERED = Fault(
    "not-offered",
    "the relay (version {version}) does not offer {missing}",
    "`compress=zstd` needs the package zstandard on the relay's host, and `max_bandwidth` a relay that is no "
    "older than this program.",
    "leave that out of the URL, or have the relay's operator install what is missing and restart it",
    "pip install 'astropix-stream[zstd]'",
)

FAULTS = (
    UNKNOWN_NAME, NOTHING_LISTENS, NO_ANSWER, NOT_ZEROMQ, NOT_A_RELAY, KEY_NEEDED, KEY_UNNEEDED, KEY_REFUSED,
    WRONG_SERVER_KEY, REFUSED, NO_HELLO, STREAM_WAITS, NO_STREAMS, NO_SUCH_STREAM, SEVERAL_STREAMS,
    OTHER_KIND_SAID, NO_HEARTBEAT, NOT_OFFERED, RELAY_NOT_JOINED, UPSTREAM_LOST, RELAY_HEARS_NOTHING,
)  # fmt: skip


class HandshakeResult(Enum):
    """How the ZeroMQ handshake ended, as libzmq's socket monitor tells it."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    """The other side said no: a key that it does not know, or too many clients."""
    BROKEN_OFF = "broken off"
    """Without a word: not a publisher, or, where there is a key, one that is not this relay's."""


@dataclass(frozen=True, slots=True)
class Answers:
    """How far a subscriber came, and what it was told.

    Attributes
    ----------
    source
        The relay's URL.
    addresses
        What the name stands for; empty if it is unknown.
    address
        That of them which led furthest; what follows is of this one.
    connect_error
        Why TCP did not connect.
    mechanism
        What the other side wants of us: 'NULL' (nothing) or 'CURVE' (keys); '' if it does not speak ZeroMQ,
        None if that step was not reached.
    has_key
        Whether we have a key.
    handshake
        None if that step was not reached.
    hello
        The relay's welcome.
    stream
        The stream subscribed to.
    report
        The stream's first heartbeat.
    reported_ns
        When the relay sent it, by its clock.
    has_data
        Readouts came.
    """

    source: SourceUrl
    addresses: tuple[str, ...] = ()
    address: str = ""
    connect_error: OSError | None = None
    mechanism: str | None = None
    has_key: bool = False
    handshake: HandshakeResult | None = None
    hello: Hello | None = None
    stream: str | None = None
    report: dict[str, Any] | None = None
    reported_ns: int = 0
    has_data: bool = False

    @property
    def endpoint(self) -> str:
        """The relay's address."""
        return self.source.endpoint


GREETING_SIZE = 64  # bytes of a ZMTP 3 greeting
_MECHANISM = slice(12, 32)


def parse_greeting(greeting: bytes) -> str:
    """Return the security mechanism in a ZMTP greeting; '' if it is none."""
    if len(greeting) < GREETING_SIZE or greeting[0] != 0xFF or greeting[9] != 0x7F:
        return ""
    return greeting[_MECHANISM].rstrip(b"\0").decode("ascii", "replace")


def progress(answers: Answers) -> int:
    """Return how many steps of the way were reached."""
    return sum(
        (
            answers.connect_error is None,
            bool(answers.mechanism),
            answers.handshake is HandshakeResult.SUCCEEDED,
            answers.hello is not None,
        )
    )


def is_let_in(answers: Answers) -> bool:
    """Return whether a handshake can succeed: both sides want keys, or both do not."""
    return answers.mechanism == ("CURVE" if answers.has_key else "NULL")


def judge(answers: Answers, kind: Kind | None = None) -> list[Verdict]:
    """Judge every step that was reached, and whether the readouts are of the kind that is expected."""
    found = [
        judge_kind(answers, kind),
        *(check(answers) for check in (judge_relay_membership, judge_relay_readouts)),
        judge_hops(answers.report, answers.reported_ns),
    ]
    return judge_way(answers) + [verdict for verdict in found if verdict is not None]


def judge_way(answers: Answers) -> list[Verdict]:
    """Judge every step from here to the relay's stream that was reached."""
    checks = (
        judge_name, judge_connection, judge_handshake, judge_key, judge_hello, judge_stream, judge_heartbeat,
        judge_offers,
    )  # fmt: skip
    return [verdict for check in checks if (verdict := check(answers)) is not None]


def judge_name(answers: Answers) -> Verdict | None:
    """Judge whether the relay's name is known."""
    host = answers.source.host
    if not answers.addresses:
        return UNKNOWN_NAME.found("name", host=host)
    if is_address(host):
        return None
    return fine("name", f"{host} is {', '.join(answers.addresses)}")


def judge_connection(answers: Answers) -> Verdict | None:
    """Judge whether TCP connects."""
    if not answers.addresses:
        return None
    error = answers.connect_error
    if error is None:
        at = f" at {answers.address}" if len(answers.addresses) > 1 else ""
        return fine("connection", f"{answers.endpoint} takes connections{at}")
    if error.errno == errno.ECONNREFUSED:
        return NOTHING_LISTENS.found("connection", endpoint=answers.endpoint, port=answers.source.port)
    reason = "no answer in time" if isinstance(error, TimeoutError) else errors.explain(error)
    return NO_ANSWER.found("connection", endpoint=answers.endpoint, reason=reason, host=answers.source.host)


def judge_handshake(answers: Answers) -> Verdict | None:
    """Judge whether the other side speaks ZeroMQ, and publishes."""
    if answers.mechanism is None:
        return None
    if not answers.mechanism:
        return NOT_ZEROMQ.found("handshake", endpoint=answers.endpoint)
    if answers.handshake is HandshakeResult.BROKEN_OFF and not answers.has_key:
        return NOT_A_RELAY.found("handshake", endpoint=answers.endpoint)
    return fine("handshake", "it speaks ZeroMQ")


def judge_key(answers: Answers) -> Verdict | None:
    """Judge whether the relay lets us in."""
    if not answers.mechanism:
        return None
    end, has_key = answers.handshake, answers.has_key
    fault = None
    if not is_let_in(answers):
        fault = KEY_UNNEEDED if has_key else KEY_NEEDED
    elif end is HandshakeResult.REFUSED:
        fault = KEY_REFUSED if has_key else REFUSED
    elif end is HandshakeResult.BROKEN_OFF and has_key:
        fault = WRONG_SERVER_KEY
    if fault is not None:
        return fault.found("key", endpoint=answers.endpoint)
    if end is not HandshakeResult.SUCCEEDED:
        return None
    return fine("key", "accepted" if has_key else "none is needed")


def judge_hello(answers: Answers) -> Verdict | None:
    """Judge whether it greets as a relay does."""
    if answers.handshake is not HandshakeResult.SUCCEEDED:
        return None
    if answers.hello is None:
        return NO_HELLO.found("hello", endpoint=answers.endpoint)
    return fine("hello", f"a relay, version {answers.hello.version[:40]}")


def judge_stream(answers: Answers) -> Verdict | None:
    """Judge whether the stream exists; say which there are."""
    if answers.hello is None:
        return None
    wanted, names = answers.source.options.get("stream"), stream_names(answers.hello)
    waiting = {name: words for name, words in answers.hello.waiting.items() if name not in names}
    stream = wanted if names or wanted is not None else next(iter(waiting), None)
    if stream in waiting:
        words = waiting[stream].words
        return STREAM_WAITS.found("stream", stream=stream, waits_for=words, above=_above(words))
    if not names:
        return NO_STREAMS.found("stream")
    url = with_option(answers.source, "stream", names[0])
    if wanted is not None and wanted not in names:
        return NO_SUCH_STREAM.found("stream", stream=wanted, streams=", ".join(names), url=url)
    if wanted is None and len(names) > 1:
        return SEVERAL_STREAMS.found("stream", streams=", ".join(names), url=url)
    return fine("stream", f"{wanted or names[0]} exists")


def judge_kind(answers: Answers, kind: Kind | None) -> Verdict | None:
    """Judge whether the relay says that the stream is of the kind that a person expects, if any."""
    if kind is None or answers.hello is None or answers.stream not in answers.hello.streams:
        return None
    uid = answers.hello.streams[answers.stream]
    if uid == kind.uid:
        return fine("kind", f"the relay says that the readouts are {kind}")
    url = with_option(answers.source, "stream", answers.stream)
    return OTHER_KIND_SAID.found("kind", stream=answers.stream, said=kind_of(uid), expected=kind, url=url)


def stream_names(hello: Hello) -> list[str]:
    """Return the names of the streams; what cannot be one is none, since these go into a command."""
    names = []
    for name in sorted(hello.streams):
        with contextlib.suppress(WireError):
            names.append(check_stream_name(name))
    return names


def judge_heartbeat(answers: Answers) -> Verdict | None:
    """Judge whether the subscription works."""
    if answers.stream is None:
        return None
    if answers.report is None and not answers.has_data:
        return NO_HEARTBEAT.found("heartbeat", stream=answers.stream)
    return fine("heartbeat", "the subscription works")


def judge_relay_membership(answers: Answers) -> Verdict | None:
    """Judge whether the relay itself is a member of the group; it tells in its heartbeat."""
    if answers.report is None:
        return None
    membership = str(answers.report.get("membership", "not told why"))[:200]
    if answers.report.get("state") == State.UPSTREAM_LOST:
        return UPSTREAM_LOST.found("relay's membership", membership=membership, above=_above(membership))
    if answers.report.get("joined") is False:
        return RELAY_NOT_JOINED.found("relay's membership", membership=membership)
    return fine("relay's membership", membership)


def _above(words: str) -> str:
    """Return the first relay that is named in what a relay says of those above it; it goes into a command."""
    above = re.search(r"tcp://[\w.:%\[\]*-]+", words)
    return above[0] if above else "tcp://HOST:PORT"


def judge_offers(answers: Answers) -> Verdict | None:
    """Judge whether the relay does for a slow line what the URL asks for."""
    options = answers.source.options
    link = parse_link(options.get("compress"), options.get("max_bandwidth"))
    if answers.hello is None or link.plain:
        return None
    missing = sorted(link.needs() - answers.hello.offers)
    names = {"zstd": "compress=zstd", "thinned": "max_bandwidth"}
    if missing:
        words = " and ".join(names[name] for name in missing)
        return NOT_OFFERED.found("slow line", version=answers.hello.version[:40], missing=words)
    return fine("slow line", f"the relay offers {' and '.join(names[name] for name in sorted(link.needs()))}")


def judge_relay_readouts(answers: Answers) -> Verdict | None:
    """Judge whether the relay receives readouts; it tells in its heartbeat."""
    if answers.report is None or answers.report.get("joined") is False:
        return None
    age_s = answers.report.get("last_readout_age_s")
    if isinstance(age_s, int | float) and age_s <= QUIET_AFTER_S:
        return fine("relay's readouts", f"the last one came {age_s:.1f} s ago")
    since = f"for {age_s:.0f} s" if isinstance(age_s, int | float) else "yet"
    return RELAY_HEARS_NOTHING.found("relay's readouts", since=since)
