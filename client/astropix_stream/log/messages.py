"""What stands in a log: names of streams and subjects, and readouts as messages. Pure.

A message is the relay protocol's header of 56 bytes and the readouts, byte for byte; `count` and `sequence`
in the header are those of this message, which may hold what came in several of the relay's. docs/scaling.md
is the reference for programs in other languages.

=====================  =====================================================================================
header                 content
=====================  =====================================================================================
Nats-Msg-Id            ``<relay_id>:<sequence>`` of the first readout
Apx-Count              readouts in the message
Apx-Source             address and port that the DAQ sent from
Apx-Readout-Uid        kind of the readouts; 4000 is AstroPix 4
Apx-Lost               ``<before the socket>,<in the kernel>,<rejected>``: what the relay had lost since its
                       start, as its latest heartbeat told; absent before the first
=====================  =====================================================================================
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from astropix_stream import wire
from astropix_stream.batch import Batch, Position, Source
from astropix_stream.counting.counts import Counts
from astropix_stream.errors import WireError

DEFAULT_SITE = "local"
BEATS = "APX-BEATS"
"""The stream with the last heartbeat of each subject."""
STREAM_PREFIX = "APX_"
MAX_PAYLOAD = wire.MAX_PAYLOAD
MAX_COUNT = (1 << 16) - 1  # the header's count is a u16
COUNT, SOURCE, UID, LOST = "Apx-Count", "Apx-Source", "Apx-Readout-Uid", "Apx-Lost"
MSG_ID = "Nats-Msg-Id"
_SITE = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_LOST = re.compile(r"([0-9]{1,19}),([0-9]{1,19}),([0-9]{1,19})", re.ASCII)
_REJECTED = "rejected"  # the reasons are in the heartbeats


class Stored(NamedTuple):
    """A message as the log holds it.

    `sequence` is the log's own number of it; `pending` how many the log had behind it when it sent this one.
    """

    sequence: int
    pending: int
    headers: Mapping[str, str]
    data: bytes


class Message(NamedTuple):
    """Readouts of one source with consecutive numbers, as they are stored together."""

    position: Position
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody misses
    source: Source
    received_ns: int
    payload: bytes

    @property
    def end(self) -> Position:
        """The position behind the last readout."""
        return Position(self.position.relay_id, self.position.sequence + self.count)

    @property
    def msg_id(self) -> str:
        """What the log knows it by."""
        return f"{self.position.relay_id}:{self.position.sequence}"

    def pack(self) -> bytes:
        """Return the bytes to store."""
        relay_id, sequence = self.position
        header = (0, self.count, relay_id, sequence, self.received_ns, self.source)
        return wire.pack_header(header) + self.payload

    def headers(self, readout_uid: int, lost: Counts | None = None) -> dict[str, str]:
        """Return the headers to store it with; `lost` is what the relay had lost by then."""
        headers = {
            MSG_ID: self.msg_id,
            COUNT: str(self.count),
            SOURCE: str(self.source),
            UID: str(readout_uid),
        }
        if lost is not None:
            headers[LOST] = f"{lost.before_socket},{lost.in_kernel},{sum(lost.rejected.values())}"
        return headers

    def without(self, count: int) -> "Message":
        """Return it without its first `count` readouts."""
        _, _, ends = wire.walk_payload(self.payload, self.count)
        position = Position(self.position.relay_id, self.position.sequence + count)
        return self._replace(
            position=position, count=self.count - count, payload=self.payload[ends[count - 1] :]
        )


def check_site(site: str) -> str:
    """Return `site`, or raise `WireError` with what a site may be called."""
    if not _SITE.fullmatch(site):
        raise WireError(f"{site!r} cannot be a site's name: 1 to 64 of A-Z a-z 0-9 _ -")
    return site


def stream_name(stream: str) -> str:
    """Return the name of the JetStream stream that keeps one of the relay's."""
    return STREAM_PREFIX + wire.check_stream_name(stream)


def data_subject(site: str, stream: str) -> str:
    """Return where a stream's readouts are published."""
    return f"apx.{check_site(site)}.{wire.check_stream_name(stream)}.data"


def beat_subject(site: str, stream: str) -> str:
    """Return where a stream's heartbeats are published."""
    return f"apx.{check_site(site)}.{wire.check_stream_name(stream)}.beat"


def parse_header(data: bytes) -> wire.Header:
    """Parse the header of a message.

    Raises
    ------
    WireError
        It is none of ours, or says that it holds no readout.
    """
    header = wire.parse_message_header(data)
    if not header.count:
        raise WireError("a message without readouts")
    return header


def parse(data: bytes, *, recovered: bool = False) -> Batch:
    """Return the readouts of a stored message.

    Raises
    ------
    WireError
        Not a message as `Message.pack` makes it.
    """
    header = parse_header(data)
    payload = data[wire.MESSAGE_HEADER.size :]
    columns = wire.walk_payload(payload, header.count)
    position = Position(header.relay_id, header.sequence)
    return Batch(header.source, header.received_ns, payload, *columns, recovered, position=position)


def parse_lost(headers: Mapping[str, str]) -> Counts | None:
    """Return what the relay had lost when a message was stored; None where it does not say."""
    match = _LOST.fullmatch(headers.get(LOST, ""))
    if match is None:
        return None
    before_socket, in_kernel, rejected = map(int, match.groups())
    return Counts(before_socket=before_socket, in_kernel=in_kernel, rejected={_REJECTED: rejected})


def summed(counts: Counts) -> Counts:
    """Return of a heartbeat's counts what `parse_lost` returns of a message's."""
    rejected = {_REJECTED: sum(counts.rejected.values())}
    return Counts(before_socket=counts.before_socket, in_kernel=counts.in_kernel, rejected=rejected)
