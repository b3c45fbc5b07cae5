"""A service that behaves towards systemd as the relay does, with nothing but systemd.py.

It joins a group on lo, prints each datagram it receives to the journal, and keeps its socket in the
descriptor store. It proves the container, the unit's sandbox and systemd.py without the daemon. SIGUSR1
hangs it.
"""

import ctypes
import os
import select
import signal
import socket
import struct
import sys
import time
from types import FrameType

from astropix_relay.host import systemd

GROUP, PORT = "239.255.42.1", 24242


def joined_socket() -> socket.socket:
    stored = systemd.listen_fds().get("udp/standin", [])
    if stored:
        return socket.socket(fileno=stored[0])
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((GROUP, PORT))
    request = struct.pack("=4s4si", socket.inet_aton(GROUP), b"", socket.if_nametoindex("lo"))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    return sock


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def hang(_signal: int, _frame: FrameType | None) -> None:
    time.sleep(3600)


def stop(_signal: int, _frame: FrameType | None) -> None:
    systemd.notify(STOPPING=1)
    raise SystemExit


def reload(_signal: int, _frame: FrameType | None) -> None:
    systemd.notify_reloading()
    systemd.notify(READY=1, STATUS="reloaded")


def say_surroundings() -> None:
    """Tell what the tests ask about the service's surroundings."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    say(f"credentials {sorted(os.listdir(directory)) if directory else None}")
    say(f"journal {systemd.stderr_is_journal()}")
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda value: value + 1)
    say(f"ctypes {callback(41)}")


def main() -> None:
    for number, handler in ((signal.SIGTERM, stop), (signal.SIGHUP, reload), (signal.SIGUSR1, hang)):
        signal.signal(number, handler)
    say_surroundings()
    sock = joined_socket()
    systemd.store_fds("udp/standin", sock.fileno())
    stored = systemd.barrier(5)
    timeout_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6 or None
    systemd.notify(READY=1, STATUS=f"stored {stored}, watchdog {timeout_s}")
    while True:
        if select.select([sock], [], [], timeout_s / 4 if timeout_s else None)[0]:
            say(f"got {sock.recv(2048).decode()}")
        systemd.notify(WATCHDOG=1)


main()
