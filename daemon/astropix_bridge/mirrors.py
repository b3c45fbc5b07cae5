"""A hub's mirrors of a beam line's streams: made where they are missing, and set going again after a cut."""

import asyncio
import contextlib
import json
import logging
import time
from typing import TYPE_CHECKING

from astropix_bridge.log import Link
from astropix_bridge.metrics import MirrorSample
from astropix_bridge.model import BridgeConfig, KeepConfig
from astropix_bridge.waking import Requests
from astropix_stream.errors import ConfigError
from astropix_stream.log import access, messages
from astropix_stream.log.access import Connection

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.js.api import StreamConfig

_log = logging.getLogger(__name__)

_LOOK_S = 0.5  # between looks at requests that nobody has answered
_SAMPLE_S = 2.0  # between looks at how far the mirrors are
_ASK_AGAIN_S = 20.0  # for streams that the beam line did not have before
_RETRY_S = 2.0
_ANSWER_S = 2.0
# Where nats-server sends what answers its own requests; docs/scaling.md has the permissions.
_ANSWERS = "$JSC.R.*"


class Mirrors:
    """Keeps mirrors of the streams of a beam line's JetStream domain in the log that the link leads to.

    Parameters
    ----------
    config
        The bridge's, with a `mirror`.
    link
        The connection to the hub.
    """

    def __init__(self, config: BridgeConfig, link: Link) -> None:
        assert config.mirror is not None
        self._config = config
        self._link = link
        self._prefix = f"$JS.{config.mirror}.API"
        self._requests: Requests[Msg] = Requests()
        self._trouble = ""
        self._names: set[str] = set()
        self.samples: list[MirrorSample] = []
        """How far each mirror is, as the hub said a moment ago."""

    async def run(self) -> None:
        """Make mirrors and watch over them until this is cancelled."""
        while True:
            connection = await self._link.wait()
            try:
                await self._session(connection)
            except ConfigError:
                raise
            except Exception as error:  # whatever nats-py raises: the hub may answer in a moment
                self._tell(access.describe(error))
                await asyncio.sleep(_RETRY_S)

    def _tell(self, words: str) -> None:
        if words and words != self._trouble:
            _log.warning("%s", f"mirrors of {self._config.mirror}: {words}")
        self._trouble = words

    async def _session(self, connection: Connection) -> None:
        client = connection.client
        await client.subscribe(f"{self._prefix}.CONSUMER.CREATE.>", cb=self._note_request)
        await client.subscribe(_ANSWERS, cb=self._note_answer)
        await client.flush()
        ask_s = sample_s = time.monotonic()
        while self._link.connection is connection:
            for reply, request in self._requests.due(time.monotonic()):
                await client.publish(request.subject, request.data, reply=reply, headers=request.headers)
            if time.monotonic() >= ask_s:
                ask_s = time.monotonic() + (_ASK_AGAIN_S if await self._make(connection) else _RETRY_S)
            if time.monotonic() >= sample_s:
                sample_s = time.monotonic() + _SAMPLE_S
                await self._take_samples(connection)
            await asyncio.sleep(_LOOK_S)

    async def _note_request(self, msg: "Msg") -> None:
        if msg.reply:
            self._requests.note(msg.reply, msg, time.monotonic())

    async def _note_answer(self, msg: "Msg") -> None:
        self._requests.answered(msg.subject)

    async def _make(self, connection: Connection) -> bool:
        """Make the mirrors that are missing; return whether it is known what there is to be mirrored."""
        names = [messages.stream_name(name) for name in self._config.streams]
        if not names:
            try:
                names = await self._streams_there(connection)
            except Exception as error:  # such as a line that is cut: what is mirrored stays so
                self._tell(f"the beam line does not say which streams it has: {access.describe(error)}")
                return False
        self._tell("")
        for name in names:
            await self._make_one(connection, name)
            self._names.add(name)
        return True

    async def _streams_there(self, connection: Connection) -> list[str]:
        answer = await connection.client.request(f"{self._prefix}.STREAM.NAMES", b"{}", timeout=_ANSWER_S)
        names = json.loads(answer.data).get("streams") or []
        return [name for name in names if name.startswith(messages.STREAM_PREFIX) or name == messages.BEATS]

    async def _make_one(self, connection: Connection, name: str) -> None:
        from nats.js.errors import NotFoundError  # noqa: PLC0415

        try:
            found = (await connection.context.stream_info(name)).config.mirror
        except NotFoundError:
            assert self._config.mirror is not None
            wanted = mirror_config(name, self._config.mirror, self._config.keep)
            await connection.context.add_stream(wanted)
            _log.info("made %s in the log, a mirror of %s's", name, self._config.mirror)
            return
        there = found and found.external and found.external.api
        if there != self._prefix:
            what = f"a mirror of {there}" if there else "no mirror"
            raise ConfigError(f"{name} of this log is {what}: it would have to be one of {self._prefix}")

    async def _take_samples(self, connection: Connection) -> None:
        samples = []
        for name in sorted(self._names):
            with contextlib.suppress(Exception):  # it may have been deleted; then it is made again
                mirror = (await connection.context.stream_info(name)).mirror
                if mirror is not None:
                    stream = name.removeprefix(messages.STREAM_PREFIX)
                    heard_ns = mirror.active  # -1 if never
                    silent_s = -1.0 if heard_ns is None or heard_ns < 0 else heard_ns / 1e9
                    samples.append(MirrorSample(stream, mirror.lag or 0, silent_s))
        self.samples = samples


def mirror_config(name: str, domain: str, keep: KeepConfig) -> "StreamConfig":
    """Return how a mirror is set up."""
    from nats.js.api import ExternalStream, StorageType, StreamConfig, StreamSource  # noqa: PLC0415

    return StreamConfig(
        name=name,
        description="AstroPix readouts of a beam line, mirrored by astropix-bridge",
        mirror=StreamSource(name=name, external=ExternalStream(api=f"$JS.{domain}.API")),
        storage=StorageType(keep.storage),
        num_replicas=keep.replicas,
        max_age=keep.age,
        max_bytes=keep.size or -1,
        max_msgs_per_subject=1 if name == messages.BEATS else -1,
        allow_direct=True,
    )
