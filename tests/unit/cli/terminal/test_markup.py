"""No text from outside is markup: what goes through Rich goes there as text."""

from pathlib import Path

import pytest
import rich.markup
from rich.console import Console

from astropix_stream import cli
from astropix_stream.cli.doctor import _print_lines
from astropix_stream.cli.terminal import progress
from astropix_stream.doctor.verdict import fine
from astropix_stream.fileio import FileHeader, apx_open
from astropix_stream.fmt import AstroPix4Readout

NAMES = ("run[night].apx", "run [red]2.apx", "[bold]x[bold].apx", ":smile:.apx", r"a\[b].apx")


@pytest.fixture(autouse=True)
def rendered(monkeypatch):
    """Collect what is parsed as markup."""
    texts: list[str] = []
    render = rich.markup.render

    def note(markup, *args, **options):
        texts.append(markup)
        return render(markup, *args, **options)

    monkeypatch.setattr("rich.markup.render", note)
    monkeypatch.setattr("rich.console.render_markup", note)
    yield texts
    assert not [text for text in texts if "[" in text or "smile" in text]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data["
    folder.mkdir()
    paths = [Path(name) for name in NAMES] + [Path("data[/run].apx")]
    for path in paths:
        with apx_open(path, "wb", FileHeader(AstroPix4Readout, {"note": "[red]x[/red]"})) as writer:
            writer.write(AstroPix4Readout(b"\xbc", 0, 1).to_bytes())
    return paths


def test_a_table_of_files_has_their_names(files, capsys):
    assert cli.run(["info", *map(str, files)]) == 0
    out = capsys.readouterr().out
    assert all(str(path) in out for path in files)


def test_each_command_names_its_files_as_they_are(files, capsys):
    for path in files:
        assert cli.run(["info", str(path)]) == 0
        assert cli.run(["convert", str(path), f"{path.stem}.csv"]) == 0
        assert cli.run(["receive", str(path)]) == 0
        assert cli.run(["info", f"{path}.none"]) == 2
        assert cli.run(["send", f"{path}.none"]) == 2
        out, err = capsys.readouterr()
        assert f"file          {path}, " in out
        assert "[red]x[/red]" in out
        assert f"written to {path.stem}.csv" in out
        assert f"{path}: nothing lost of 1" in err
        assert err.count(f"apx: {path}.none: No such file or directory\n") == 2


def test_what_a_check_of_the_doctor_says(capsys):
    texts = ["the interface [red]eth0[/red] is up", "[/]", ":smile:"]
    _print_lines("udp://[ff15::1]:5007?interface=[b]x", [fine("interface", text) for text in texts])
    out = capsys.readouterr().out
    assert all(text in out for text in texts)
    assert "udp://[ff15::1]:5007?interface=[b]x" in out


def test_a_note_of_the_progress_bar(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    bar = progress.Bar(10)
    with bar:
        bar.show(0.0, 5, "[red]run[/red].apx")
    bar._bar.console.print(bar._bar.get_renderable())
    assert "[red]run[/red].apx" in capsys.readouterr().err


def test_the_fixture_sees_markup(rendered):
    with Console().capture():
        Console().print("[red]x[/red]")
    assert rendered == ["[red]x[/red]"]
    rendered.clear()
