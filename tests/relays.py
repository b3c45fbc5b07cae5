"""A relay in a thread of the test's own process, whose inside can be looked at."""

import contextlib
import threading

from astropix_relay.service import Relay


@contextlib.contextmanager
def running(config):
    """Run a relay of this configuration until the block ends."""
    relay = Relay(config)
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        yield relay
    finally:
        relay.stop()
        thread.join()
