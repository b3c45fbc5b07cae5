"""Which connection has subscribed to what. Pure.

What libzmq passes on does not tell: a connection may subscribe twice, and its end is told once; it may end a
subscription that it, or anybody, never had. Whoever counted these would believe that subscribers of a slow
line are gone while they listen, or that they are there for good.
"""


class Subscriptions:
    """The topics of each connection; connections are known by their descriptors.

    Attributes
    ----------
    count : int
        Topics subscribed to, of all connections together.
    """

    def __init__(self) -> None:
        self.count = 0
        self._of: dict[int, set[bytes]] = {}

    def begin(self, fd: int, topic: bytes) -> bool:
        """Note a subscription; return whether the connection did not have it yet."""
        topics = self._of.setdefault(fd, set())
        if topic in topics:
            return False
        topics.add(topic)
        self.count += 1
        return True

    def end(self, fd: int, topic: bytes) -> bool:
        """Note the end of a subscription; return whether the connection had it."""
        topics = self._of.get(fd, set())
        if topic not in topics:
            return False
        topics.remove(topic)
        self.count -= 1
        return True

    def leave(self, fd: int | None) -> list[bytes]:
        """Note the end of a connection, or of all; return the topics that it had."""
        gone = [*self._of] if fd is None else [fd]
        topics = [topic for one in gone for topic in self._of.pop(one, ())]
        self.count -= len(topics)
        return topics
