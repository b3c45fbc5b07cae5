"""The live page of ``apx demo``: ``apx monitor`` as the program that it is."""

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import IO

_LOOPBACK = "127.0.0.1"
_PORT = 5006  # that of apx monitor, if it is free


class DemoPage:
    """The page's program, which comes up while others do."""

    def __init__(self, output: IO[str], errors: IO[str]) -> None:
        self._output = output
        self._errors = errors

    def where(self) -> str:
        """Wait for the page; return its address, or why there is none."""
        line = self._output.readline()
        if line.startswith("{"):
            return str(json.loads(line)["page"])
        self._errors.seek(0)
        *_, last = ["no reason given", *self._errors.read().splitlines()]
        return f"not there: {last.removeprefix('apx: ')}"


@contextmanager
def open_page(endpoint: str) -> Iterator[DemoPage]:
    """Serve the page of a relay's only stream. In a process group of its own: Ctrl-C is for the demo."""
    argv = [sys.executable, "-m", "astropix_stream.cli", "monitor", endpoint, "--no-state", "--json"]
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = subprocess.Popen(
            [*argv, "--listen", f"{_LOOPBACK}:{_free_port()}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, process_group=0,
        )  # fmt: skip
        assert process.stdout is not None
        with closing(process.stdout):
            try:
                yield DemoPage(process.stdout, errors)
            finally:
                process.terminate()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the page's own
            probe.bind((_LOOPBACK, _PORT))
            return _PORT
        except OSError:
            return 0
