"""The hosts and programs of one row, and the comparisons that make its verdict."""

import contextlib
import json
import os
import re
import signal
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import Self

import zmq

from network.hosts import Lab, wait_until

HERE = Path(__file__).parent
PORT = 5007
MiB = 1 << 20
RELAY = Path(sys.executable).with_name("astropix-relay")


class Told(Counter):
    """What a program said of itself, by name; what it did not name is 0."""


class Died(Exception):
    """A program under test ended when it should not have: the verdict is red."""


class Child:
    """A program of the matrix: it takes commands, and ends with a result."""

    def __init__(self, program, ready):
        self.program = program
        self.port = program.wait_for(ready, 60.0).removeprefix(ready).strip()

    def tell(self, *words, answer=None):
        self.program.write(" ".join(map(str, words)) + "\n")
        if answer:
            self.program.wait_for(answer)

    def result(self, timeout=60.0):
        text = self.program.wait_for("result", timeout).removeprefix("result")
        return json.loads(text)


class Daq(Child):
    def stop(self, more=100):
        """Let it send some more, so that each loss before shows, and end; return how many it sent."""
        self.tell("stop", more)
        log = self.result()
        self.sent, self.wrong = log["sent"], log["wrong"]
        self.program.wait()
        return self.sent


class Impairer(Child):
    def spare(self):
        self.tell("spare", answer="spares")

    def stop(self):
        """Return the log."""
        self.tell("stop")
        return Told(self.result())


class Got:
    """What one receiver was handed, and what it says of it."""

    def __init__(self, outcome):
        self.ledger = outcome["ledger"]
        self.report = outcome["report"] or {}
        self.lost_at = Told(self.ledger["lost_at"])
        self.corrupt = outcome["corrupt"]
        self.malformed = outcome["malformed"]
        self.rejected = Told(outcome["rejected"])
        self.rejoins = Told(outcome["rejoins"])
        self.p99_ms, self.p99_apart_ms = outcome["p99_ms"], outcome["p99_apart_ms"]
        self.serials = [first + i for first, count in outcome["ranges"] for i in range(count)]
        self.unique = set(self.serials)

    @property
    def doubled(self):
        return len(self.serials) - len(self.unique)

    def is_in_order(self, daq_size=10**9):
        latest: dict[int, int] = {}
        for serial in self.serials:
            if serial <= latest.get(serial // daq_size, -1):
                return False
            latest[serial // daq_size] = serial
        return True

    @property
    def totals(self):
        """The relay's account, as of its last beat."""
        return Told(self.report.get("totals", {}))


class Monitors(Child):
    def finish(self, expected, timeout=90.0):
        """Wait until each has what it should, or has waited in vain; return what each got."""
        self.tell("finish", expected)
        result = self.result(timeout)
        self.program.wait()
        self.peak = result["peak"]
        if not all(result["monitors"]):
            raise Died(f"a receiver died: {self.program.stderr.splitlines()[-1]}")
        return [Got(outcome) for outcome in result["monitors"]]


class Clock:
    """The clocks of programs that were started with `env`."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(16))
        self.env = {"APX_CLOCK": str(path)}

    def shift(self, monotonic_s=0, wall_s=0):
        with self.path.open("r+b") as file:
            file.write(struct.pack("<qq", int(monotonic_s * 1e9), int(wall_s * 1e9)))


class Bench:
    """DAQ and witness on one LAN with the relay, the monitor on another.

    Parameters
    ----------
    directory
        For files.
    quick
        Shorten what is long.
    tree
        A copy of the code to run instead of the installed one.
    """

    def __init__(self, directory, *, quick=False, tree=None, seed=1):
        self.directory, self.quick, self.seed = Path(directory), quick, seed
        self.broken = tree is not None
        self.broke_down = False
        self.checks: list[tuple[str, object, object]] = []
        self.injected = self.counted = self.recovered = ""
        paths = [tree, HERE / "model_clock", HERE.parent]
        self.env = {"PYTHONPATH": os.pathsep.join(str(path) for path in paths if path)}
        self._opened = contextlib.ExitStack()
        self._programs = []

    def __enter__(self) -> Self:
        lab = self._lab = self._opened.enter_context(Lab())
        self.daq_host, self.relay_host, self.monitor_host = lab.hosts("daq", "relay", "monitor")
        self.front = lab.lan(self.daq_host, self.relay_host)
        self.back = lab.lan(self.relay_host, self.monitor_host)
        self.url = f"tcp://{self.relay_host.nics[1].address}:5556"
        self.direct_url = f"udp://239.1.1.1:{PORT}?interface=eth0"
        return self

    def __exit__(self, kind, error, trace):
        if error is not None and not self.broken:
            for program in self._programs:
                print(program, file=sys.stderr)
        self._opened.close()

    def long(self, seconds, quick):
        return quick if self.quick else seconds

    # Programs

    def start(self, host, *argv, env=None):
        program = host.start(*argv, env={**self.env, **(env or {})})
        self._programs.append(self._opened.enter_context(program))
        return program

    def start_module(self, host, module, ready, kind=Child, **options):
        env = options.pop("env", None)
        program = self.start(host, sys.executable, "-m", f"matrix.{module}", json.dumps(options), env=env)
        return kind(program, ready)

    def add_relay_host(self):
        """Make a second relay host, on the same LANs."""
        host = self._lab.host("relay2")
        self.front.connect(host)
        self.back.connect(host)
        return host

    def configure(self, host=None, *, history="64MiB", queue="8MiB", buffer="8MiB", more=""):
        """Write a relay's configuration; return its path."""
        host = host or self.relay_host
        config = self.directory / f"{host.name}.yaml"
        config.write_text(
            f"streams: [{{interface: eth0, receive_buffer: {buffer}}}]\n"
            f"publish: {{endpoint: 'tcp://*:5556', subscriber_queue: {queue}}}\n"
            f"history: {{size: {history}}}\n{more}"
        )
        return config

    def start_relay(self, host=None, *, env=None, through=(), ready="publishing", **options):
        """Start a relay; `through` is a command that starts it, such as a shell that sets limits."""
        host = host or self.relay_host
        config = self.configure(host, **options)
        relay = self.start(host, *through, RELAY, "run", "--config", config, env=env)
        if ready:
            relay.wait_for(ready)
        return relay

    def write_keys(self, *names):
        """Write pairs of CURVE keys as files; return them, as text, by name."""
        pairs = {name: zmq.curve_keypair() for name in names}
        for name, (public, secret) in pairs.items():
            text = f'metadata\ncurve\n    public-key = "{public.decode()}"\n'
            (self.directory / f"{name}.key").write_text(text)
            path = self.directory / f"{name}.key_secret"
            path.touch(mode=0o600)
            path.write_text(f'{text}    secret-key = "{secret.decode()}"\n')
        return {name: [key.decode() for key in pair] for name, pair in pairs.items()}

    def start_monitors(self, *urls, host=None, env=None, **options):
        urls = urls or (self.url,)
        host = host or self.monitor_host
        return self.start_module(host, "monitor", "ready", Monitors, urls=urls, env=env, **options)

    def start_witness(self):
        """Start a receiver that joins the group itself, beside the relay."""
        return self.start_monitors(self.direct_url, host=self.relay_host)

    def start_daq(self, **options):
        return self.start_module(self.daq_host, "daq", "sending", Daq, **options)

    def start_impaired(self, daq=None, **faults):
        """Start a DAQ whose readouts come through an impairer."""
        impairer = self.start_module(
            self.daq_host, "impairer", "impairing", Impairer, seed=self.seed, **faults
        )
        through = {"to": ["127.0.0.1", 5008], "interface": None}
        return self.start_daq(**through, **(daq or {})), impairer

    def clock(self, name="clock"):
        return Clock(self.directory / name)

    def stop_relay(self, relay):
        self.equal("exit code of the relay", relay.stop(), 0)

    # What the kernel says

    def kernel_drops(self, relay):
        """Return how many datagrams the relay's kernel dropped on its socket."""
        if relay.process.poll() is not None:
            raise Died(f"the relay died: {relay.stderr.splitlines()[-1]}")
        for line in Path(f"/proc/{relay.pid}/net/udp").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].partition(":")[2], 16) == PORT:
                return int(fields[-1])
        raise AssertionError("the relay has no UDP socket")

    def drop(self, host, *, hook="prerouting priority -450", **matches):
        """Drop in the firewall what matches, counted by name; at that priority fragments are still apart."""
        counters = "".join(f"counter {name} {{}}\n" for name in matches)
        rules = "".join(f"{match} counter name {name} drop\n" for name, match in matches.items())
        host.nft(f"table ip t {{\n{counters}chain in {{\ntype filter hook {hook}\n{rules}}}\n}}\n")

    def drop_no_more(self, host):
        """Let everything pass; the counters stay."""
        host.nft("flush chain ip t in")

    def nft_counter(self, host, name):
        """Return the packets of a named nft counter of table ip t."""
        found = json.loads(host.run(f"nft -j list counter ip t {name}"))
        return next(item["counter"]["packets"] for item in found["nftables"] if "counter" in item)

    # The verdict

    def equal(self, what, counted, injected):
        """Note what was counted and what was injected; the verdict is green if all are equal."""
        self.checks.append((what, counted, injected))

    def true(self, what, is_so):
        self.equal(what, bool(is_so), True)

    def all_delivered(self, got, sent, *, in_order=True):
        """Check that each readout came once and whole, and that nothing is said to be lost."""
        self.equal("readouts handed out", len(got.unique), sent)
        self.equal("handed out twice", got.doubled, 0)
        self.equal("damaged", got.corrupt, 0)
        self.equal("lost, by the ledger", got.ledger["lost"], 0)
        self.equal("delivered, by the ledger", got.ledger["delivered"], sent)
        if in_order:
            self.true("in order", got.is_in_order())

    def no_crash(self):
        """Check that no program under test printed a traceback."""
        for program in self._programs:
            self.true(f"no traceback from {program.argv[4:7]}", "Traceback" not in program.stderr)

    @property
    def failures(self):
        return [check for check in self.checks if check[1] != check[2]]


def memory(pid, key="VmRSS"):
    """Return a process's memory in bytes."""
    return int(re.search(rf"{key}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def kernel_memory(host):
    """Return the bytes that the kernel holds of a host's TCP connections, besides their structures."""
    told = re.findall(r"skmem:\((.*?)\)", host.run("ss -tmnH"))
    return sum(
        int(size) for one in told for name, size in re.findall(r"([a-z]+)(\d+)", one) if name in "rfwo"
    )


def descriptors(pid):
    """Return how many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def prefer(program, niceness):
    """Let the processors serve a program before, or after, whatever else this machine has to do.

    Each program is a session of its own, and so a group of its own for the scheduler (sched(7), autogroups),
    in which a niceness counts only among its threads; the group has one, too.
    """
    for task in Path(f"/proc/{program.pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(task.name), niceness)
    with contextlib.suppress(OSError):
        Path(f"/proc/{program.pid}/autogroup").write_text(str(niceness))


def kill(program):
    """SIGKILL, and wait for the end."""
    program.send_signal(signal.SIGKILL)
    program.wait()


def wait(seconds):
    """Let a fault or the load last: here time itself is the stimulus, nothing is waited for."""
    import time

    time.sleep(seconds)


__all__ = [
    "Bench",
    "Died",
    "Got",
    "MiB",
    "Told",
    "descriptors",
    "kernel_memory",
    "kill",
    "memory",
    "prefer",
    "wait",
    "wait_until",
]
