"""``apx conformance``: try a client of the relay protocol, in any language, against a scripted relay."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from astropix_stream.cli.terminal import ending, options
from astropix_stream.cli.terminal.given import Given
from astropix_stream.errors import ConfigError
from astropix_stream.url import parse_url

if TYPE_CHECKING:
    from astropix_stream.cli.conforming.scenes import Scene

EXAMPLES = (
    "Examples:\n\n"
    "apx conformance tcp://127.0.0.1:5556 -- ./subscriber tcp://127.0.0.1:5556\n\n"
    "./subscriber tcp://127.0.0.1:5556 | apx conformance tcp://127.0.0.1:5556 --scene gap\n\n"
    "The client subscribes to the stream 'astropix' and prints, whenever something has changed, a line like "
    '{"delivered": [100, 101], "lost": {"before_socket": 0, "relay_kernel": 0, "relay_rejected": 0, '
    '"relay_to_client": 3}, "restarts": 0}: the readout_ids in the order in which it hands them out. '
    "It is started once per scene; all scenes take about 75 s. conformance/README.md has more."
)


def command(
    endpoint: Annotated[
        str | None,
        typer.Argument(
            metavar="URL",
            help="Where to listen: tcp://HOST:PORT; history is at PORT + 1.",
            show_default=False,
        ),
    ] = None,
    client: Annotated[
        list[str] | None,
        typer.Argument(metavar="CLIENT", help="The client and its arguments, after --.", show_default=False),
    ] = None,
    *,
    context: typer.Context,
    scene: Annotated[
        list[str] | None,
        typer.Option("--scene", metavar="NAME", help="Play only this scene. Repeatable.", show_default=False),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the scenes, and play none.")] = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Test a client of the relay protocol, in any language; name the section of docs/protocol.md it broke.

    A scripted relay sends what a real one may send: gaps, restarts, pages of history that are late or lost.
    The exit code is 0 if the client behaved correctly in every scene.
    """
    from astropix_stream.cli.conforming import scenes  # noqa: PLC0415  (--help needs none of it)

    if listed:
        if endpoint is not None:
            raise ConfigError("--list plays nothing: leave out the URL and the client, or --list")
        Given(context).refuse("--scene", because="does nothing with --list, which prints all scenes")
        _print_list(as_json=as_json)
        return
    where = _endpoint(endpoint)
    chosen = scenes.find(scene or [])
    if not client and len(chosen) != 1:
        raise typer.BadParameter("without a CLIENT to start, name one scene: --scene NAME")
    if not client and chosen[0].sleeps:
        raise typer.BadParameter(f"the scene {chosen[0].name!r} stops the client: give the CLIENT to start")
    ending.finish(wrong=not _play(chosen, where, client or [], as_json=as_json))


def _endpoint(endpoint: str | None) -> str:
    if endpoint is None:
        raise typer.BadParameter("say where to listen: tcp://127.0.0.1:5556")
    url = parse_url(endpoint)
    if url.scheme != "tcp" or url.options or int(url.endpoint.rpartition(":")[2]) > 65534:
        raise typer.BadParameter(f"{endpoint!r} is not tcp://HOST:PORT with a PORT below 65535")
    return url.endpoint


def _print_list(*, as_json: bool) -> None:
    from astropix_stream.cli.conforming import scenes  # noqa: PLC0415

    for each in scenes.load():
        if as_json:
            print(json.dumps({"scene": each.name, "shows": each.shows, "live": each.live}))
        else:
            print(f"{each.name:28}{each.shows}" + ("" if each.live else " (only in sessions.jsonl)"))


def _play(chosen: "list[Scene]", endpoint: str, client: list[str], *, as_json: bool) -> bool:
    """Play the scenes, and print how each went; return whether all went well."""
    from astropix_stream.cli.conforming import stage  # noqa: PLC0415

    well = 0
    for each in chosen:
        faults = stage.play(each, endpoint, client)
        well += not faults
        if as_json:
            print(json.dumps({"scene": each.name, "ok": not faults, "faults": [f._asdict() for f in faults]}))
        else:
            print(f"{each.name:28}{'ok' if not faults else 'wrong'}")
            for fault in faults:
                print(f"    {fault}")
            if faults:
                print(f"    The scene: {each.shows}")
    if not as_json:
        print(f"{well} of {len(chosen)} scenes as docs/protocol.md says")
    return well == len(chosen)
