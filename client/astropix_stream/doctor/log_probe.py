"""Go a reader's way to a log, one step after the other, and note what came of each."""

import asyncio
import contextlib
import json
import time
from dataclasses import replace

from astropix_stream.doctor.log import Found, Step
from astropix_stream.log import access, messages
from astropix_stream.log.access import Access, Connection
from astropix_stream.url import SourceUrl


def ask(source: SourceUrl) -> Found:
    """Go as far as the log lets us.

    Raises
    ------
    ConfigError
        A file that the source names cannot be read, or no client for NATS is installed.
    """
    access.check_installed()
    return asyncio.run(_ask(source, Access.from_url(source)))


async def _ask(source: SourceUrl, where: Access) -> Found:
    found = Found(source, stream=source.options.get("stream", ""))
    complaints: list[Exception] = []

    async def ignore() -> None:
        pass

    async def complain(error: Exception) -> None:
        complaints.append(error)

    try:
        connection = await access.connect(where, "apx doctor", closed=ignore, complain=complain)
    except Exception as error:  # whatever nats-py raises is an answer
        failed = Step.ACCESS if access.is_refusal(error) else Step.CONNECT
        return replace(found, failed=failed, reason=access.describe(error))
    try:
        found = replace(found, server=connection.server)
        return await _look(connection, found)
    except Exception as error:
        if complaints and "permissions" in str(complaints[-1]).lower():
            return replace(found, failed=Step.PERMISSION, reason=access.describe(complaints[-1]))
        failed = Step.STREAM if access.error_code(error) == access.NO_STREAM else Step.JETSTREAM
        return replace(found, failed=failed, reason=access.describe(error))
    finally:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(connection.close(), access.CONNECT_S)


async def _look(connection: Connection, found: Found) -> Found:
    streams = await _names(connection)
    stream = found.stream or (streams[0] if len(streams) == 1 else "")
    found = replace(found, streams=streams, stream=stream)
    if not stream or (streams and stream not in streams):
        return replace(found, failed=Step.STREAM)
    name = messages.stream_name(stream)
    state = (await connection.context.stream_info(name)).state
    if not state.messages:
        return found
    last = await connection.context.get_msg(name, state.last_seq)
    header = messages.parse_header(last.data or b"")
    return replace(found, messages=state.messages, age_s=time.time() - header.received_ns / 1e9)


async def _names(connection: Connection) -> tuple[str, ...]:
    """Return the streams that a log has; nothing where we may not ask."""
    try:
        request = connection.client.request(f"{connection.prefix}.STREAM.NAMES", b"{}", timeout=3.0)
        names = json.loads((await request).data).get("streams") or ()
    except TimeoutError:
        return ()
    return tuple(
        sorted(
            name.removeprefix(messages.STREAM_PREFIX)
            for name in names
            if name.startswith(messages.STREAM_PREFIX)
        )
    )
