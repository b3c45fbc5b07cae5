"""A damaged file in each command that reads one: one rule, one sentence, exit code 2."""

import pytest

from astropix_stream import cli
from astropix_stream.fileio import FileHeader
from astropix_stream.fmt import AstroPix4Readout

READOUTS = b"".join(
    AstroPix4Readout(b"\xe0\x40\x1e\xac\x0d\xcc\xc2\x01", i, i + 1).to_bytes() for i in range(3)
)
APX = FileHeader(4000, {}).serialize()
LINE = b"%d\tb'e0401eac0dccc201'\n"
LOG = b" Namespace(chipVer=4)\n" + LINE % 0 + b"nonsense\n" + LINE % 1 + LINE % 2
FRAMES = bytes([10, 1, 0x0C, 0x85, 1, 2, 3, 4, 5, 6, 7]) * 3
DAMAGED = {
    "cut.apx": (APX + READOUTS + READOUTS[:9], "truncated: 9 bytes of an incomplete readout at its end"),
    "noise.apx": (
        APX + READOUTS[:54] + b"garbage that is no readout" + READOUTS[54:],
        f"not a readout at byte {len(APX) + 54}: begins with 67 61 72, not with the magic fe dc ba "
        "(26 bytes skipped)",
    ),
    "tail.apx": (
        APX + READOUTS + b"garbage",
        f"not a readout at byte {len(APX + READOUTS)}: begins with 67 61 72, not with the magic fe dc ba "
        "(7 bytes skipped)",
    ),
    "two.apx": (
        APX + READOUTS[:54] + APX + READOUTS[54:],
        f"another file begins at byte {len(APX) + 54}; its readouts are read, too",
    ),
    "cut and another.apx": (
        APX + READOUTS[:54] + READOUTS[:20] + APX + READOUTS[54:],
        f"not a readout at byte {len(APX) + 54}: no readout follows the 8 bytes of data that it announces "
        f"(20 bytes skipped); another file begins at byte {len(APX) + 74}; its readouts are read, too",
    ),
    "lines.log": (LOG, "1 skipped: line 3: neither a readout nor configuration: 'nonsense'"),
    "both.log": (
        LOG + b"7\tb'e040",
        "1 skipped: line 3: neither a readout nor configuration: 'nonsense'; "
        "truncated: 8 bytes of an incomplete readout at its end",
    ),
    "noise.bin": (FRAMES + b"\xff" * 20 + FRAMES, "1 skipped: 20 bytes of noise at byte 33"),
}
COMMANDS = {
    "info": [],
    "receive": [],
    "playback": [],
    "convert": ["TARGET.csv"],
    "convert to .apx": ["TARGET.apx"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_whole_is_kept_and_the_damage_is_said(tmp_path, name, command, capsys, caplog):
    data, damage = DAMAGED[name]
    path = tmp_path / name
    path.write_bytes(data)
    args = [str(tmp_path / arg) if "TARGET" in arg else arg for arg in COMMANDS[command]]
    assert cli.run([command.partition(" ")[0], str(path), *args]) == 2
    out, err = capsys.readouterr()
    count = "1 readout" if name.endswith(".bin") else "3 readouts"
    if command not in ("info", "playback"):
        assert count in out + err
    if command == "info":
        assert f"readouts      {count[0]}" in out
    assert f"{path}: {damage}" in err + caplog.text


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_file_of_readouts_is_named(tmp_path, command, capsys):
    path = tmp_path / "run.apx"
    args = [str(tmp_path / arg) if "TARGET" in arg else arg for arg in COMMANDS[command]]
    for size, told in (
        (0, "the file is empty"),
        *((i, "the file ends before its header") for i in (1, 5, 9)),
    ):
        path.write_bytes(APX[:size])
        assert cli.run([command.partition(" ")[0], str(path), *args]) == 2
        assert capsys.readouterr().err == f"apx: {path}: {told}\n"
    assert cli.run([command.partition(" ")[0], str(tmp_path), *args]) == 2
    assert capsys.readouterr().err == f"apx: {tmp_path}: is a directory, not a file of readouts\n"
