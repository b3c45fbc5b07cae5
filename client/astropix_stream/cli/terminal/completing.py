"""What the shell offers for a word that is not complete: interfaces, streams of a relay, schemes, kinds.

All of it is found in a bounded time, and silently: who presses the tabulator key wants no error.
"""

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, NoReturn

from astropix_stream.errors import AstropixError
from astropix_stream.url import SCHEMES, parse_url

PATIENCE_S = 0.3
ASKED = "_APX_COMPLETE"
_BREAKS = ":="  # at which bash ends a word


def run(command: Callable[[], object], environ: MutableMapping[str, str] = os.environ) -> NoReturn:
    """Run a command that its shell has asked for completions, print these, and end the process.

    Bash takes `tcp://relay:5556` for several words, and expects what follows the last colon.
    """
    prefix = _mend_words(environ) if "bash" in environ.get(ASKED, "") else ""
    found, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.suppress(BaseException),
        contextlib.redirect_stdout(found),
        contextlib.redirect_stderr(errors),
    ):
        command()
    lines = found.getvalue().splitlines()
    with contextlib.suppress(OSError):
        print(*(line.removeprefix(prefix) for line in lines), sep="\n", flush=True)
    os._exit(0)  # whatever still asks a relay


def words(environ: MutableMapping[str, str] = os.environ) -> list[str]:
    """Return the words of the line that is to be completed."""
    if "COMP_WORDS" in environ:
        return environ["COMP_WORDS"].split("\n")
    return environ.get("_TYPER_COMPLETE_ARGS", "").split()


def _mend_words(environ: MutableMapping[str, str]) -> str:
    """Put together what bash has split; return the part of the present word that it holds for another."""
    parts = environ.get("COMP_WORDS", "").split("\n")
    at = int(environ.get("COMP_CWORD", "0"))
    merged: list[str] = []
    current, joined = 0, False
    for index, part in enumerate(parts):
        is_break = bool(part) and not part.strip(_BREAKS)
        if merged and (is_break or joined):
            merged[-1] += part
        else:
            merged.append(part)
        joined = is_break
        if index <= at:
            current = len(merged) - 1
    if at >= len(parts):
        merged += [] if joined else [""]
        current = len(merged) - 1
    environ["COMP_WORDS"], environ["COMP_CWORD"] = "\n".join(merged), str(current)
    word = merged[current]
    if word[:1] in "'\"":
        return ""
    return word[: 1 + max(word.rfind(character) for character in _BREAKS)]


def among(values: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what offers those of some values that begin like the word."""
    known = list(values)

    def offer(incomplete: str) -> list[str]:
        return [value for value in known if value.startswith(incomplete)]

    return offer


def interfaces(incomplete: str) -> list[str]:
    """Offer the names of this host's interfaces."""
    import socket  # noqa: PLC0415

    return [name for _, name in socket.if_nameindex() if name.startswith(incomplete)]


def kinds(incomplete: str) -> list[str]:
    """Offer the kinds of readouts."""
    from astropix_stream.fmt import kinds as known  # noqa: PLC0415

    return among(kind.slug for kind in known())(incomplete)


def urls(incomplete: str) -> list[str]:
    """Offer schemes, and behind a question mark the streams of a relay, interfaces and further options."""
    address, mark, query = incomplete.partition("?")
    scheme, separator, rest = address.partition("://")
    if not separator:
        schemes = [f"{name}://" for name in SCHEMES if name != "file"] if incomplete else []
        return [*among(schemes)(incomplete), *_files(incomplete)]
    if scheme not in SCHEMES:
        return []
    if mark:
        done, _, last = query.rpartition("&")
        before = f"{address}?{done}&" if done else f"{address}?"
        return [f"{before}{text}" for text in _options(scheme, address, last)]
    if scheme == "tcp" and rest:
        return [f"{address}?stream={name}" for name in _streams(address)]
    return []


def _options(scheme: str, address: str, text: str) -> list[str]:
    """Offer options of a URL, or the values of the one that is being written."""
    name, equals, value = text.partition("=")
    if not equals:
        return [f"{option}=" for option in SCHEMES[scheme].options if option.startswith(name)]
    values: Callable[[str], list[str]] = {
        "interface": interfaces,
        "stream": among(_streams(address) if (name, scheme) == ("stream", "tcp") else ()),
        "start": among(("oldest", "live")),
    }.get(name, _files)
    return [f"{name}={offered}" for offered in values(value)]


def _files(incomplete: str) -> list[str]:
    """Offer files and folders, which the shell does not do beside what we offer."""
    folder, name = os.path.split(incomplete)
    try:
        there = sorted(os.listdir(folder or "."))
    except OSError:
        return []
    paths = (os.path.join(folder, one) for one in there if one.startswith(name) and one[0] != ".")
    return [f"{path}/" if os.path.isdir(path) else path for path in paths]


def _streams(address: str) -> list[str]:
    """Ask a relay for its streams, no longer than a person waits."""
    found: list[str] = []

    def ask() -> None:
        from astropix_stream.doctor import probe, relay  # noqa: PLC0415

        answers: Any = probe.ask(parse_url(address), PATIENCE_S)
        if answers.hello is not None:
            found.extend(relay.stream_names(answers.hello))

    def try_to() -> None:
        with contextlib.suppress(AstropixError, OSError):
            ask()

    asking = threading.Thread(target=try_to, daemon=True)
    asking.start()
    asking.join(PATIENCE_S)
    return list(found)
