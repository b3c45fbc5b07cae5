"""A program on a terminal of its own, whose size can change and whose keys can be pressed."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
from typing import Self

from programs import TIMEOUT


class Terminal:
    """A program on a terminal of its own, as a context manager."""

    def __init__(self, *argv: object) -> None:
        self._master, self._slave = os.openpty()
        self._settings = termios.tcgetattr(self._slave)
        self.resize(100, 20)
        environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            list(map(str, argv)), stdin=self._slave, stdout=self._slave, stderr=self._slave,
            env=environment | {"TERM": "xterm-256color"}, start_new_session=True,
        )  # fmt: skip
        self.text = ""

    def is_as_it_was(self) -> bool:
        """Tell whether the terminal's settings are those of the beginning."""
        return termios.tcgetattr(self._slave) == self._settings

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    def read_until(self, pattern: str) -> str:
        """Read until what came since the last call matches; return it."""
        begin = len(self.text)
        while not re.search(pattern, self.text[begin:]):
            assert select.select([self._master], [], [], TIMEOUT)[0], self.text[begin:]
            data = os.read(self._master, 65536)
            assert data, self.text[begin:]
            self.text += data.decode(errors="replace")
        return self.text[begin:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._slave)
        os.close(self._master)
