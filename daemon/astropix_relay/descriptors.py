"""What the loop waits for: readouts of a stream, something from a client, a word to the loop itself."""

import logging
import select
from collections.abc import Iterable, Sequence

from astropix_relay.streams import Stream

_log = logging.getLogger(__name__)

MAX_READY = 64  # descriptors looked at in a turn


class Descriptors:
    """Watches the descriptors of all streams, and those that concern none of them.

    Parameters
    ----------
    others
        Descriptors that stay: of clients, and of the loop itself.

    Attributes
    ----------
    poller : select.epoll or None
        What to wait with; None before the first `watch`. The loop asks it itself: that is on the way of each
        readout.
    streams : dict of int to Stream
        Whose descriptors they are; those of no stream are among `others`.
    """

    def __init__(self, others: Iterable[int]) -> None:
        self._others = (*others,)
        self.streams: dict[int, Stream] = {}
        self._watching: tuple[dict[int, Stream], list[int]] | None = None
        self.poller: select.epoll | None = None

    def watch(self, streams: Sequence[Stream]) -> bool:
        """Watch these streams; return whether anything is new.

        All are watched again if any is new: it may have the number of a closed one.

        Raises
        ------
        OSError
            There is no descriptor left to begin with. Later on, what is watched stays as it was.
        """
        watched = {number: stream for stream in streams for number in stream.filenos()}
        opened = [stream.inlet.opened for stream in streams]
        if (watched, opened) == self._watching:
            return False
        try:
            poller = select.epoll()
        except OSError as error:
            if self.poller is None:
                raise
            _log.warning("cannot look for new sockets: %s", error.strerror)
            return False
        self.close()
        self.poller, self.streams, self._watching = poller, watched, (watched, opened)
        for fd in (*self._others, *watched):
            poller.register(fd, select.EPOLLIN)
        return True

    def close(self) -> None:
        """Close; a second call does nothing."""
        if self.poller is not None:
            self.poller.close()
