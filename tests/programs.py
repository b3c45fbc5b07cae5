"""Run a program beside a test: wait for what it prints, for its end, and leave nothing of it behind.

::

    with Program(sys.executable, "-c", "print('ready'); input()") as program:
        program.wait_for("ready")
        assert program.stop() == -signal.SIGTERM
"""

import contextlib
import os
import signal
import subprocess
import threading
from types import TracebackType
from typing import IO, Self

TIMEOUT = 90.0  # seconds; long, since it passes only in a test that fails


class Program:
    """A child process; `stdout` and `stderr` grow as it prints. At exit it is killed if it still runs.

    Parameters
    ----------
    argv
        The program and its arguments.
    env
        Variables to set, besides those of this process.
    """

    def __init__(self, *argv: object, env: dict[str, str] | None = None) -> None:
        self.argv = [str(word) for word in argv]
        self._changed = threading.Condition()
        self._stdout: list[str] = []
        self._stderr: list[str] = []
        self._seen: dict[int, int] = {}
        self._open_pipes = 2
        self.process = subprocess.Popen(
            self.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # so that what it starts can be killed with it
            env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "120"} | (env or {}),
        )
        pipes = ((self.process.stdout, self._stdout), (self.process.stderr, self._stderr))
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in pipes]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: IO[str], lines: list[str]) -> None:
        for line in pipe:
            with self._changed:
                lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._open_pipes -= 1
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdout(self) -> str:
        return "".join(self._stdout)

    @property
    def stderr(self) -> str:
        return "".join(self._stderr)

    def wait_for(self, text: str, timeout: float = TIMEOUT) -> str:
        """Wait for a line with `text` on either stream; return it. Each line answers one call only."""
        found: list[str] = []

        def look() -> bool:
            for lines in (self._stdout, self._stderr):
                begin = self._seen.get(id(lines), 0)
                for i in range(begin, len(lines)):
                    if text in lines[i]:
                        self._seen[id(lines)] = i + 1
                        found.append(lines[i].rstrip("\n"))
                        return True
            return not self._open_pipes

        with self._changed:
            self._changed.wait_for(look, timeout)
        if not found:
            raise AssertionError(f"no line with {text!r} from {self}")
        return found[0]

    def write(self, text: str) -> None:
        """Write to the program's standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def send_signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Wait for the program's end; return its exit code (-N: ended by signal N)."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {timeout} s: {self}") from None
        for reader in self._readers:
            reader.join(timeout)
        return code

    def stop(self, number: int = signal.SIGTERM, timeout: float = TIMEOUT) -> int:
        """Send a signal and wait for the end; return the exit code."""
        self.send_signal(number)
        return self.wait(timeout)

    def close(self) -> None:
        """Kill the program if it still runs; a second call does nothing."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __str__(self) -> str:
        return f"{' '.join(self.argv)}\n--- stdout\n{self.stdout}--- stderr\n{self.stderr}"
