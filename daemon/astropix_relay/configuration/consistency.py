"""What is wrong, or doubtful, between keys of a configuration that are each right by themselves.

Pure. Each finding names the paths that have part in it, so that it is told where a person wrote one of them,
and is left out where one of them is wrong already.
"""

import ipaddress
import itertools
from collections.abc import Iterator

from astropix_daemon.addresses import tcp_address
from astropix_relay.configuration.model import Config, OutputConfig, StreamConfig
from astropix_stream.addresses import is_address, is_multicast, is_of_one_link
from astropix_stream.checking.marks import KeyPath
from astropix_stream.checking.mistakes import dotted
from astropix_stream.checking.quantities import Size
from astropix_stream.checking.rules import Finding
from astropix_stream.wire import MAX_PAGE

KERNEL_BUFFER = 3 << 19
"""Most bytes that the kernel holds for one connection to us: twice `connections.CLIENT_SEND_BUFFER`."""


def warnings(config: Config) -> list[str]:
    """Return what is allowed but seldom meant, a line each, such as `streams[0].group: …`."""
    return [f"{dotted(path)}: {message}" for path, message in doubts(config)]


def contradictions(config: Config) -> Iterator[Finding]:
    """Yield what is wrong between keys that are each right: the paths that have part in it, and what."""
    for index, stream in enumerate(config.streams):
        at: KeyPath = ("streams", index)
        yield from _beside_upstreams(stream, at) if stream.upstreams else _within_stream(stream, at)
    for (first, one), (second, other) in itertools.combinations(enumerate(config.streams), 2):
        if one.name == other.name:
            yield _between(first, second, "name"), f"streams[{first}] is called {one.name!r} too"
        if not one.upstreams and not other.upstreams and _same_data(one, other):
            where = f"{one.group} port {one.port}"
            if one.interface != other.interface:
                where += ", whatever the interface"
            message = f"streams[{first}] already receives {where}"
            yield _between(first, second, "port", "group", "interface", "sources"), message
    for index, output in enumerate(config.outputs):
        yield from _of_output(config, output, ("outputs", index))
    yield from _endpoint_contradictions(config)
    yield from _memory_contradictions(config)


def _of_output(config: Config, output: OutputConfig, at: KeyPath) -> Iterator[Finding]:
    """Yield what is wrong with an output: no such stream, or readouts that would run in a circle."""
    streams = {stream.name: stream for stream in config.streams}
    stream = streams.get(output.stream)
    named = [(*at, "stream"), at]
    if stream is None:
        yield named, f"there is no stream {output.stream!r}; there are: {', '.join(streams)}"
    elif not stream.upstreams:
        yield (
            named,
            f"{output.stream!r} comes from a group: an output has a stream 'from' relays",
        )
    where = [(*at, "multicast"), at]
    for index, other in enumerate(config.streams):
        same = not other.upstreams and (other.group, other.port) == output.destination
        if same and (other.interface == output.interface or None in (other.interface, output.interface)):
            yield where, f"streams[{index}] relays this group: the readouts would run in a circle"
    for index, one in enumerate(config.outputs[: int(at[1])]):
        if (one.destination, one.interface) == (output.destination, output.interface):
            yield where, f"outputs[{index}] sends there already"


def _between(first: int, second: int, *keys: str) -> list[KeyPath]:
    """Return the paths of a finding about two streams, which is told at the second."""
    of_second: list[KeyPath] = [("streams", second, key) for key in keys]
    return [*of_second, ("streams", second), *(("streams", first, key) for key in keys)]


def _beside_upstreams(stream: "StreamConfig", at: KeyPath) -> Iterator[Finding]:
    """Yield the keys of a group where the stream comes from relays, which tell what else there is to know."""
    if stream.thinned and len(stream.upstreams) > 1:
        yield (
            [(*at, "from")],
            "with max_bandwidth there can be only one relay: of two, each leaves out others",
        )
    for key in sorted(stream.model_fields_set - {"name", "upstreams"}):
        yield [(*at, key)], "this is a group's; a stream has either 'from' or a group"


def _within_stream(stream: "StreamConfig", at: KeyPath) -> Iterator[Finding]:
    version = ipaddress.ip_address(stream.group).version
    group = (*at, "group")
    if stream.interface and is_address(stream.interface):
        own = ipaddress.ip_address(stream.interface).version
        if own != version:
            yield (
                [(*at, "interface"), group],
                f"an IPv{own} address, the group is IPv{version}: name the interface",
            )
    for index, source in enumerate(stream.sources):
        own = ipaddress.ip_address(source).version
        if own != version:
            yield [(*at, "sources", index), group], f"an IPv{own} address, the group is IPv{version}"
    if stream.sources and not is_multicast(stream.group):
        yield (
            [(*at, "sources"), group],
            f"only a multicast group can be joined by source; {stream.group} is none",
        )


def _same_data(one: "StreamConfig", other: "StreamConfig") -> bool:
    """Whether two streams would receive the same datagrams.

    Sockets that joined one group for different sources get only their own. So do those that joined on
    different interfaces, except to IPv6 groups that reach beyond a link: there Linux 6.18 gives each socket
    the datagrams of both interfaces (measured). Two sockets on one unicast address do not share it at all.
    """
    if (one.group, one.port) != (other.group, other.port):
        return False
    if not is_multicast(one.group):
        return True
    if one.sources and other.sources and not set(one.sources) & set(other.sources):
        return False
    return one.interface == other.interface or (":" in one.group and not is_of_one_link(one.group))


def _endpoint_contradictions(config: Config) -> Iterator[Finding]:
    publish: KeyPath = ("publish", "endpoint")
    history: KeyPath = ("history", "endpoint")
    publisher = tcp_address(config.publish.endpoint)
    if config.history.size and not config.history.endpoint and publisher and publisher.port == 65535:
        yield [publish, history], "no port is left for history: take a lower one, or set history.endpoint"
        return
    served: list[tuple[list[KeyPath], str | None]] = [
        ([publish], config.publish.endpoint),
        ([history, publish], config.history_endpoint()),
        ([("metrics", "listen")], config.metrics.listen and f"tcp://{config.metrics.listen}"),
    ]
    for (first, one), (second, other) in itertools.combinations(served, 2):
        if one and other and _collide(one, other):
            message = f"{dotted(first[0])} {one} and {dotted(second[0])} {other} overlap"
            yield [*second, *first], message


def _collide(one: str, other: str) -> bool:
    first, second = tcp_address(one), tcp_address(other)
    return one == other if first is None or second is None else first.overlaps(second)


def _memory_contradictions(config: Config) -> Iterator[Finding]:
    """Compare the worst case with the budget.

    A subscriber has one queue for all streams, but each stream has a history of its own, so that a busy one
    does not push out a quiet one's readouts. A client who asks for history and does not read holds two pages:
    one that is leaving, one behind it. What the kernel holds of a connection counts for the service as well:
    twice what is asked for as a send buffer, since the kernel counts its overhead.
    """
    clients, queue = config.publish.max_clients, config.publish.subscriber_queue
    streams, history = len(config.streams), config.history.size
    answers = 2 * MAX_PAGE if history else 0
    kernel = KERNEL_BUFFER * (2 if history else 1)
    total = clients * (queue + answers + kernel) + streams * history
    if total > config.memory_budget:
        paths: list[KeyPath] = [
            ("memory_budget",),
            ("publish", "max_clients"),
            ("publish", "subscriber_queue"),
            ("history", "size"),
        ]
        parts = [Size.format(queue)]
        parts += [f"{Size.format(answers)} of answers"] if answers else []
        parts += [f"{Size.format(kernel)} in the kernel"]
        queues = f"{clients} clients x ({' + '.join(parts)})"
        histories = f"{streams} stream{'s' * (streams > 1)} x {Size.format(history)} of history"
        budget = Size.format(config.memory_budget)
        yield paths, f"{queues} + {histories} = {Size.format(total)}, more than memory_budget: {budget}"


def doubts(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is allowed but seldom meant."""
    for index, stream in enumerate(config.streams):
        if stream.upstreams:
            continue
        address = ipaddress.ip_address(stream.group)
        if not address.is_multicast:
            yield (
                ("streams", index, "group"),
                f"{address} is no multicast group: only one program can receive there",
            )
        elif stream.interface is None and is_of_one_link(stream.group):
            yield ("streams", index, "interface"), f"{address} is valid on one link only: name the interface"
    for (first, one), (second, other) in itertools.combinations(enumerate(config.streams), 2):
        unlike = one.interface != other.interface and (one.interface is None or other.interface is None)
        if (
            unlike
            and not one.upstreams
            and not other.upstreams
            and _same_data(one, other.model_copy(update={"interface": one.interface}))
        ):
            message = f"receives everything twice if the route's interface is that of streams[{first}]"
            yield ("streams", second, "interface"), message
    if config.security is None and (exposed := _exposed(config)):
        yield (
            ("security",),
            f"anyone who reaches {' and '.join(exposed)} can read the data: encryption is off",
        )


def _exposed(config: Config) -> list[str]:
    """Return the endpoints that other hosts can connect to."""
    endpoints = [config.publish.endpoint, config.history_endpoint()]
    addresses = [(text, tcp_address(text)) for text in endpoints if text]
    return [text for text, address in addresses if address and not address.is_loopback()]
