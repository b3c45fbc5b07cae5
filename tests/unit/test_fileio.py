"""Files: golden bytes, what a crash leaves, and any bytes."""

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.errors import ConfigError, FormatError
from astropix_stream.fileio import MAX_HEADER, ApxReader, ApxWriter, FileHeader, apx_open
from astropix_stream.fmt import AstroPix4Readout

HEADER = b'%APXDF\x15\x00\x00\x00{"readout_uid": 4000}'
READOUTS = [
    AstroPix4Readout(bytes.fromhex("bcbce0401eac0dccc200bcbc"), number, 10 + number) for number in range(5)
]
RAW = [readout.to_bytes() for readout in READOUTS]
BODY = b"".join(RAW)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.apx"


def test_golden_bytes(path):
    with apx_open(path, "wb", FileHeader(AstroPix4Readout, {})) as run:
        run.write(RAW[0])
    assert path.read_bytes() == HEADER + bytes.fromhex(
        "fedcba 00000000 0a00000000000000 0c000000 bcbce0401eac0dccc200bcbc"
    )


def test_what_was_written_is_read(path):
    header = FileHeader(AstroPix4Readout, {"args": {"threshold": 100.0}, "who": "Zoë"})
    with apx_open(str(path), "wb", header) as run:
        assert run.header is header
        run.write(RAW[0])
        run.flush()
        run.write(b"".join(RAW[1:]))
    with apx_open(path) as run:
        assert dict(run.header) == {"readout_uid": 4000, "args": {"threshold": 100.0}, "who": "Zoë"}
        assert run.header["who"] == "Zoë"
        assert run.header.readout_class() is AstroPix4Readout
        assert list(run) == READOUTS
        assert run.leftover_bytes == 0
        assert list(run) == []
    assert path.read_bytes().endswith(BODY)


def test_datagrams_and_batches_are_exact(path):
    padded = RAW[0][:15] + b"\x02\x00\x00\x00\x01\xff"  # a readout object would strip the ff
    path.write_bytes(HEADER + padded + BODY)
    with apx_open(path) as run:
        assert next(run.datagrams()) == (padded, 0, 10)
        assert next(run) == READOUTS[0]
        assert next(run.datagrams()) == (RAW[1], 1, 11)
        assert list(run.batches(2)) == [RAW[2] + RAW[3], RAW[4]]
    with apx_open(path) as run:
        assert list(run.batches(3)) == [padded + RAW[0] + RAW[1], RAW[2] + RAW[3] + RAW[4]]


def test_readouts_across_blocks(path, monkeypatch):
    path.write_bytes(HEADER + BODY)
    for block in range(1, 70):
        monkeypatch.setattr("astropix_stream.fileio._BLOCK", block)
        with apx_open(path) as run:
            assert list(run) == READOUTS


def test_a_file_cut_anywhere_gives_all_whole_readouts(path, caplog):
    for size in range(len(BODY)):
        path.write_bytes(HEADER + BODY[:size])
        whole, left = divmod(size, len(RAW[0]))
        caplog.clear()
        with caplog.at_level(logging.WARNING), apx_open(path) as run:
            assert list(run) == READOUTS[:whole]
            assert run.leftover_bytes == left
        begin = len(HEADER) + whole * len(RAW[0])
        said = f"{path}: ends in the middle of a readout, {left} bytes left over from byte {begin} on"
        assert caplog.messages == ([said] if left else [])


def test_damage_is_told_after_all_readouts(path):
    path.write_bytes(HEADER + RAW[0] + RAW[1] + b"\x00" + RAW[2] + RAW[3])
    told = f"{path}: not a readout at byte {len(HEADER) + len(RAW[0]) * 2}: begins with 00 fe dc"
    for read in (iter, lambda run: run.datagrams(), lambda run: run.batches()):
        found = []
        with apx_open(path) as run, pytest.raises(FormatError) as error:
            found.extend(read(run))
        assert str(error.value).startswith(told)
        assert str(error.value).endswith(" (1 byte skipped)")
    with apx_open(path) as run:
        batches = run.batches()
        assert next(batches) == b"".join(RAW[:4])
        with pytest.raises(FormatError):
            next(batches)
    with ApxReader(path, tolerant=True) as run:
        assert list(run) == READOUTS[:4]
        assert run.complaints == str(error.value).removeprefix(f"{path}: ")


def test_a_file_behind_another_is_read_with_it(path):
    path.write_bytes(HEADER + RAW[0] + HEADER + RAW[1])
    with apx_open(path) as run:
        assert list(run) == READOUTS[:2]
        assert run.further_headers == [(len(HEADER + RAW[0]), run.header)]


def test_a_length_no_datagram_has_is_damage(path):
    path.write_bytes(HEADER + RAW[0] + RAW[1][:15] + b"\xff" * 4 + bytes(100))
    with apx_open(path) as run, pytest.raises(FormatError, match="4294967295 bytes of data, more than"):
        list(run)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n", "not an .apx file: it does not begin with %APXDF"),
        (b"%APXDF\x01", "ends before its header"),
        (HEADER[:-1], "ends in its header: 20 of 21 bytes"),
        (b"%APXDF\xff\xff\xff\xff", f"4294967295 bytes, more than the {MAX_HEADER}"),
        (b"%APXDF\x02\x00\x00\x00[]", "not a JSON object"),
        (b"%APXDF\x02\x00\x00\x00{,", "not JSON"),
        (b"%APXDF\x02\x00\x00\x00\xff\xfe", "not JSON"),
        (b"%APXDF\x50\xc3\x00\x00" + b"[" * 50000, "not JSON"),
        (HEADER.replace(b"4000", b"[12]"), r"the header's readout_uid is \[12\], not a number from 0 to"),
        (HEADER.replace(b"4000", b"true"), r"the header's readout_uid is true, not a number from 0 to"),
        (HEADER.replace(b"4000", b"-400"), r"the header's readout_uid is -400, not a number from 0 to"),
    ],
)
def test_what_is_no_apx_file(path, content, told):
    path.write_bytes(content)
    with pytest.raises(FormatError, match=told) as error:
        apx_open(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


start = st.sampled_from([b"", HEADER, HEADER[:10], HEADER + RAW[0], HEADER + BODY[:50]])


@given(start, st.one_of(st.binary(max_size=80), st.binary(max_size=9).map(lambda tail: RAW[0] + tail)))
def test_any_bytes_are_readouts_or_a_format_error(tmp_path_factory, start, rest):
    path = tmp_path_factory.getbasetemp() / "any.apx"
    path.write_bytes(start + rest)
    found = []
    try:
        with apx_open(path) as run:
            for raw, _, _ in run.datagrams():
                found.append(raw)
            left = run.leftover_bytes
    except FormatError:
        return
    body = b"".join(found)
    assert start + rest == HEADER + body + (start + rest)[len(HEADER) + len(body) :]
    assert len(HEADER) + len(body) + left == len(start + rest)


def test_a_kind_without_a_class_has_bytes_but_no_readouts(path):
    path.write_bytes(HEADER.replace(b"4000", b"3999") + BODY)
    with apx_open(path) as run:
        assert (run.header.readout_uid, run.header["readout_uid"]) == (3999, 3999)
        with pytest.raises(FormatError, match="no class of readouts has the uid 3999"):
            next(run)
        assert b"".join(raw for raw, _, _ in run.datagrams()) == BODY


def test_a_header_without_a_uid_is_that_of_an_astropix_4(path, caplog):
    path.write_bytes(b'%APXDF\x0c\x00\x00\x00{"args": {}}' + BODY)
    with apx_open(path) as run:
        assert b"".join(readout.to_bytes() for readout in run) == BODY
        assert (run.header.readout_uid, run.header.is_assumed, run.header["args"]) == (4000, True, {})
    assert "its header does not say the kind of readouts; taken for AstroPix 4" in caplog.text


def test_a_header_with_room_takes_what_is_known_later(path):
    header = FileHeader(3000, {"run": 1})
    with ApxWriter(path, header, overwrite=False, room=30) as writer:
        writer.write(BODY)
        assert not writer.update_header(FileHeader(3000, {"run": 1, "more": "x" * 30}))
        assert writer.update_header(FileHeader(3000, {"run": 1, "more": "x" * 10}))
        writer.write(BODY)
    with apx_open(path) as run:
        assert dict(run.header) == {"readout_uid": 3000, "run": 1, "more": "x" * 10}
        assert b"".join(raw for raw, _, _ in run.datagrams()) == BODY * 2


def test_the_header_is_what_its_class_says():
    header = FileHeader(AstroPix4Readout, {"run": 3, "readout_uid": 1})
    assert list(header.items()) == [("readout_uid", 4000), ("run", 3)]
    assert header.serialize() == b'%APXDF\x1f\x00\x00\x00{"readout_uid": 4000, "run": 3}'


def test_write_modes(path):
    header = FileHeader(AstroPix4Readout, {})
    with apx_open(path, "xb", header):
        pass
    with pytest.raises(FileExistsError):
        apx_open(path, "xb", header)
    with apx_open(path, "wb", header) as run:
        run.write(RAW[0])
        run.close()
    assert path.read_bytes() == HEADER + RAW[0]
    wrong: list[Any] = [("wb", None), ("xb", None), ("rb", header), ("ab", header), ("r", None)]
    for mode, given_header in wrong:
        with pytest.raises(ConfigError, match='opened with "rb", or "wb" or "xb" and a header'):
            apx_open(path, mode, given_header)
    assert path.read_bytes() == HEADER + RAW[0]


def test_a_header_that_json_cannot_hold_makes_no_file(path):
    with pytest.raises(TypeError):
        apx_open(path, "wb", FileHeader(AstroPix4Readout, {"when": object()}))
    assert not path.exists()


def test_a_missing_file_is_an_oserror(path):
    with pytest.raises(FileNotFoundError):
        apx_open(path)
