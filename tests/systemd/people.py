"""People at hosts, with a home, a login shell and sudo, who type what docs/operating.md tells them to."""

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import yaml

from operating_page import Step
from systemd.container import (
    REPOSITORY,
    Container,
    booted,
    make_tree,
    make_wheelhouse,
    repository_files,
)

# pip finds in a folder what it would download.
PIP = "[global]\nno-index = true\nfind-links = /wheels\nno-cache-dir = true\n"

# What `sudoedit` opens puts into the file what the reader would write there.
EDITOR = '#!/bin/sh\ncp /run/edited "$1"\n'


@dataclass
class Host:
    """A machine with an interface eth1, on which a DAQ may send, and the person who sits there."""

    container: Container
    person: str
    where: str = field(init=False)

    def __post_init__(self) -> None:
        self.home = f"/home/{self.person}"
        self.where = self.home
        run = self.container.run
        run("useradd", "--create-home", "--shell=/bin/bash", self.person)
        self.container.write(f"/etc/sudoers.d/{self.person}", f"{self.person} ALL=(ALL:ALL) NOPASSWD: ALL\n")
        self.container.write("/etc/pip.conf", PIP)
        run("sh", "-c", "echo 127.0.1.1 $(cat /proc/sys/kernel/hostname) >>/etc/hosts")
        self.container.write("/usr/local/bin/editor-of-the-page", EDITOR)
        run("chmod", "755", "/usr/local/bin/editor-of-the-page")

    def follow(self, step: Step) -> str:
        """Type the step's commands, where the step before on this host has ended; return what they print."""
        if step.yaml is not None:
            self.container.write("/run/edited", self._edited(step))
        script = (
            f"cd {shlex.quote(self.where)}\nexport SUDO_EDITOR=/usr/local/bin/editor-of-the-page\n"
            f"trap 'pwd >/tmp/where-{self.person}' EXIT\n{step.commands}"
        )
        path = f"/tmp/step-{step.name}"
        self.container.write(path, script)
        login = ("runuser", "--login", self.person, "--command", f"exec bash -eu -o pipefail {path} 2>&1")
        done = subprocess.run(
            self.container.command(*login),
            input="y\n" * 3,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, (
            f"{step.commands}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
        self.where = self.container.run("cat", f"/tmp/where-{self.person}").stdout.strip()
        return done.stdout

    def _edited(self, step: Step) -> str:
        """Return the file that the step edits with the page's keys in it."""
        words = step.commands.split()
        path = words[words.index("sudoedit") + 1]
        before = self.container.run("cat", path, check=False).stdout
        return yaml.safe_dump((yaml.safe_load(before) or {}) | yaml.safe_load(step.yaml or ""))

    def carry(self, path: str, to: "Host", target: str) -> None:
        """Bring files to another host, or to another person, as scp would."""
        reading = ("sh", "-c", f"cd {self.home} && tar -chf - --transform='s|.*/||' {path}")
        archive = subprocess.run(self.container.command(*reading), capture_output=True, check=True).stdout
        writing = ("tar", "-xf", "-", "--no-same-owner", "-C", target)
        subprocess.run(to.container.command(*writing), input=archive, check=True)
        to.container.run("chown", "-R", f"{to.person}:", to.home)


@contextmanager
def host(person: str) -> Iterator[Host]:
    """Boot a host with nothing of ours."""
    with booted(make_tree(), binds={make_wheelhouse(): "/wheels"}) as container:
        for command in (
            "link add eth1 type veth peer name daq",
            "link set daq up",
            "link set eth1 up multicast on",
            "address add 192.0.2.10/24 dev eth1",
        ):
            container.run("ip", *command.split())
        yield Host(container, person)


def check_out(to: Host) -> None:
    """Put the repository's files, as they are, into the person's `checkout`, and go there."""
    packed = subprocess.run(
        ["tar", "-C", REPOSITORY, "-cf", "-", "--null", "--files-from=-"],
        input="\0".join(repository_files()).encode(),
        capture_output=True,
        check=True,
    ).stdout
    to.where = f"{to.home}/checkout"
    to.container.run("mkdir", to.where)
    subprocess.run(
        to.container.command("tar", "-xf", "-", "--no-same-owner", "-C", to.where), input=packed, check=True
    )
    to.container.run("chown", "-R", f"{to.person}:", to.where)
