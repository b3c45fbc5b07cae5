"""docs/troubleshooting.md, made of the faults that the doctor knows: ``python -m`` this module prints it.

A test holds the document against it, so that what a person reads there is what the commands say.
"""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from string import Formatter

from astropix_stream import errors
from astropix_stream.doctor import (
    arrivals,
    environment,
    firewall,
    hops,
    joining,
    log,
    path,
    querier,
    relay,
    settings,
)
from astropix_stream.doctor.verdict import Fault

_CHAPTERS: Sequence[tuple[str, Sequence[Fault]]] = (
    ("The interface and the route", path.FAULTS),
    ("Joining the group", joining.FAULTS),
    ("Settings of the kernel", settings.FAULTS),
    ("The firewall", firewall.FAULTS),
    ("Containers and packages", environment.FAULTS),
    ("What arrives", arrivals.FAULTS),
    ("Switches", querier.FAULTS),
    ("The relay", relay.FAULTS),
    ("Relays behind relays", hops.FAULTS),
    ("The log", log.FAULTS),
)

_BEGINNING = """\
# Troubleshooting

`apx doctor` makes all of these checks and prints the command that mends what it finds; start with it:

```sh
apx doctor 'udp://239.1.1.1:5007'            # on a monitor of the detector's network
apx doctor 'tcp://relay:5556?stream=astropix'  # on a monitor of another network
apx doctor 'nats://host:4222?stream=astropix'  # for what a log keeps
```

Here is each thing that it can say, why it is so, and what to do. Words in capitals stand for what it fills
in. (Made from the program by `python -m astropix_stream.doctor.troubleshooting`; do not edit.)
"""

_ERRORS = """\
## What the system says

Senders, receivers and the relay put these sentences behind what the operating system answered.

| the system says | what it means |
|---|---|
"""


def page() -> str:
    """Return the document."""
    chapters = [_chapter(title, faults) for title, faults in _CHAPTERS]
    return "\n".join([_BEGINNING, *chapters, _ERRORS + "".join(_error_rows())])


def all_faults() -> list[Fault]:
    """Return every fault that the doctor knows."""
    return [fault for _, faults in _CHAPTERS for fault in faults]


def _chapter(title: str, faults: Sequence[Fault]) -> str:
    return "\n".join([f"## {title}\n", *(_entry(fault) for fault in faults)])


def _entry(fault: Fault) -> str:
    advice = _fill_in(fault.advice)
    return (
        f"### {_fill_in(fault.message)}\n\n{fault.cause}\n\n"
        f"**What to do:** {advice}.\n{_block(fault.command)}"
    )


def _block(command: str | Mapping[str, str]) -> str:
    """Return what to type; each in its case, where there are several."""
    if not command:
        return ""
    lines = [command] if isinstance(command, str) else [f"# {case}\n{text}" for case, text in command.items()]
    return "\n```sh\n" + _fill_in("\n".join(lines)) + "\n```\n"


def _fill_in(text: str) -> str:
    """Put a word in capitals for each field."""
    return "".join(literal + (name or "").upper() for literal, name, _, _ in Formatter().parse(text))


def _error_rows() -> Iterator[str]:
    for number, advice in errors.ADVICE.items():
        yield f"| {os.strerror(number)} (`{errno.errorcode[number]}`) | {advice} |\n"


if __name__ == "__main__":
    print(page(), end="")
