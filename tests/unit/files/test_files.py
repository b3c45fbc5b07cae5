"""Files of readouts: what each format gives, in pieces of any size, and what is wrong with it."""

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.errors import FormatError
from astropix_stream.fileio import FileHeader
from astropix_stream.files import ApxParser, FrameParser, LogParser, ParsedReader, open_readouts
from astropix_stream.fmt import ASTEP, ASTROPIX4, HEADER_SIZE, AStepReadout, AstroPix4Readout

LOG = (
    b"Voltagecard: {'thpmos': 0, 'vcasc2': 1.1}\n"
    b" Namespace(name='a', chipVer=3, inject=[1, [9, 2]], maxruns=None, odd=some_name)\n"
    b"0\tb'20e1bcffff'\n"
    b"1\tb'20e1bcfff'\n"
    b"nonsense\n"
    b"2\tb'20zz'\n"
    b"4294967296\tb'20'\n"
    b"7\tb'20'\n"
)


def frame(number, layer=1):
    return bytes([10, layer, 0x0C, 0x85, 1, 2, 3]) + number.to_bytes(4, "little")


def apx(count=5, header=None):
    body = b"".join(AstroPix4Readout(bytes([0xE0, i] * 4), i, i).to_bytes() for i in range(count))
    return FileHeader(4000, header or {}).serialize() + body


def in_pieces(parser, data, seed):
    rng, found, at = random.Random(seed), [], 0
    while at < len(data):
        size = rng.choice([1, 2, 7, 30, 500])
        found += parser.feed(data[at : at + size])
        at += size
    return [*found, *parser.finish()]


def write(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_log_gives_its_configuration_and_the_lines_that_are_whole(tmp_path, ending):
    with open_readouts(write(tmp_path / "a.log", LOG.replace(b"\n", ending))) as reader:
        assert isinstance(reader, ParsedReader)
        found = list(reader.datagrams())
    assert [(raw[HEADER_SIZE:], i, ns) for raw, i, ns in found] == [
        (bytes.fromhex("20e1bc"), 0, 0),
        (b"\x20", 7, 0),
    ]
    assert dict(reader.header) == {
        "readout_uid": 3000,
        "Voltagecard": {"thpmos": 0, "vcasc2": 1.1},
        "options": {"name": "a", "chipVer": 3, "inject": [1, [9, 2]], "maxruns": None, "odd": "some_name"},
    }
    assert isinstance(reader, ParsedReader)
    assert reader.skipped == 4
    assert reader.complaints.startswith(
        "line 4: readout 1 has an odd number of hexadecimal digits (9); line 5: neither"
    )
    assert "and 1 more" in reader.complaints


def test_a_log_that_is_cut_says_how_many_bytes_are_left(tmp_path):
    with open_readouts(write(tmp_path / "a.log", LOG + b"8\tb'20")) as reader:
        assert [i for _, i, _ in reader.datagrams()] == [0, 7]
    assert reader.leftover_bytes == 6


def test_a_last_line_needs_no_end(tmp_path):
    with open_readouts(write(tmp_path / "a.log", LOG + b"8\tb'20'")) as reader:
        assert [i for _, i, _ in reader.datagrams()] == [0, 7, 8]
    assert reader.leftover_bytes == 0


def test_a_line_without_end_does_not_fill_the_memory():
    parser = LogParser()
    for _ in range(5):
        assert not parser.feed(b"x" * 1_000_000)
    assert parser.leftover_bytes <= 1 << 20
    assert [found.readout_id for found in parser.feed(b"xx\n3\tb'20'\n")] == [3]
    assert parser.complaints.count == 1


@given(st.binary(max_size=400))
def test_any_line_is_a_readout_or_a_complaint(data):
    parser = LogParser()
    parser.feed(data + b"\n")
    parser.finish()
    assert parser.offset == len(data) + 1


def test_frames_are_grouped_at_frame_boundaries_and_nothing_is_left_out(tmp_path):
    data = b"".join(frame(i) for i in range(400)) + b"\xfe\xff" + frame(7) + frame(8)
    with open_readouts(write(tmp_path / "a.bin", data)) as reader:
        found = list(reader.datagrams())
    assert b"".join(raw[HEADER_SIZE:] for raw, _, _ in found) == data
    assert [readout_id for _, readout_id, _ in found] == list(range(len(found)))
    assert max(len(raw) for raw, _, _ in found) <= 1400
    assert sum(len(AStepReadout.from_bytes(raw).hits()) for raw, _, _ in found) == 402
    assert reader.header.readout_uid == 3100


@given(st.lists(st.one_of(st.binary(max_size=2000), st.builds(frame, st.integers(0, 9)))), st.integers())
def test_frames_in_pieces_are_those_of_the_whole(parts, seed):
    data = b"".join(parts)
    whole = FrameParser()
    found = [*whole.feed(data), *whole.finish()]
    pieces = FrameParser()
    assert in_pieces(pieces, data, seed) == found
    assert b"".join(each.raw[HEADER_SIZE:] for each in found) + data[whole.offset :] == data
    assert (pieces.whole_frames, pieces.noise_bytes) == (whole.whole_frames, whole.noise_bytes)


def test_half_a_frame_waits_for_the_rest():
    parser = FrameParser()
    parser.feed(frame(1) + frame(2)[:5])
    (found,) = parser.flush()
    assert (found.raw[HEADER_SIZE:], found.end, parser.leftover_bytes) == (frame(1), 11, 5)
    parser.feed(frame(2)[5:])
    (found,) = parser.flush()
    assert (found.raw[HEADER_SIZE:], found.readout_id, found.end) == (frame(2), 1, 22)


def test_a_frame_behind_noise_does_not_wait_for_ever():
    parser = FrameParser()
    parser.feed(b"\xff\xff" + frame(1))
    assert b"".join(found.raw[HEADER_SIZE:] for found in parser.flush()) == b"\xff\xff" + frame(1)


@pytest.mark.parametrize("seed", range(5))
def test_an_apx_file_in_pieces_is_that_of_the_whole(seed):
    parser = ApxParser()
    found = in_pieces(parser, apx(20, {"a": 1}), seed)
    assert [each.readout_id for each in found] == list(range(20))
    assert parser.header is not None
    assert parser.header["a"] == 1
    assert parser.offset == found[-1].end == len(apx(20, {"a": 1}))


@pytest.mark.parametrize("seed", range(5))
def test_bytes_that_are_no_readout_are_skipped_in_a_growing_file(seed):
    parser = ApxParser()
    data = apx(3) + b"\xfe\xdc noise \xfe\xdc\xba" + b"\xff" * 20 + apx(3)[len(apx(0)) :]
    assert [each.readout_id for each in in_pieces(parser, data, seed)] == [0, 1, 2, 0, 1, 2]
    assert parser.complaints


def test_a_growing_apx_file_can_be_read_from_any_readout_on():
    head, data = apx(0), apx(3)
    parser = ApxParser(len(head))
    assert [each.readout_id for each in parser.feed(data[len(head) :])] == [0, 1, 2]
    assert (parser.header, parser.offset, parser.leftover_bytes) == (None, len(data), 0)
    parser.feed(b"no readout")
    assert parser.skipping == ""  # too few bytes to tell
    parser.feed(b" is here, either")
    assert parser.skipping.startswith(f"not a readout at byte {len(data)}: begins with 6e 6f 20")
    begun = ApxParser()
    assert (begun.feed(head[:15]), begun.leftover_bytes, begun.skipping, begun.finish()) == ([], 15, "", [])


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.bin", b"", "a.bin: the file is empty"),
        ("a.log", b"", "a.log: the file is empty"),
        ("a", bytes(range(128, 256)), "a: not an .apx file, a text log or frames of an A-STEP"),
        ("a.apx", b"\x89PNG\r\n\x1a\n", "a.apx: not an .apx file: it does not begin with %APXDF"),
        ("a.apx", b"just text", "a.apx: not an .apx file: it does not begin with %APXDF"),
        ("a.apx", b"", "a.apx: the file is empty"),
    ],
)
def test_what_is_no_file_of_readouts_is_named(tmp_path, name, data, text):
    with pytest.raises(FormatError, match=text):
        open_readouts(write(tmp_path / name, data))


@pytest.mark.parametrize("name", ["a.apx", "a.bin", "a.log", "a"])
@pytest.mark.parametrize(
    ("data", "uid"),
    [(apx(), 4000), (LOG, 3000), (b"".join(map(frame, range(9))), 3100)],
    ids=["apx", "log", "bin"],
)
def test_the_content_tells_the_format_whatever_the_name(tmp_path, name, data, uid):
    if (name, uid) == ("a.apx", 3100):
        with pytest.raises(FormatError, match=r"not an \.apx file"):
            open_readouts(write(tmp_path / name, data))
        return
    with open_readouts(write(tmp_path / name, data)) as reader:
        assert reader.header.readout_uid == uid
        assert list(reader.datagrams())


@pytest.mark.parametrize("data", [apx(), LOG, b"".join(map(frame, range(9)))], ids=["apx", "log", "bin"])
def test_a_pipe_is_read_as_a_file_is(tmp_path, data):
    read, wrote = os.pipe()
    os.write(wrote, data)
    os.close(wrote)
    with open_readouts(f"/dev/fd/{read}") as reader, open_readouts(write(tmp_path / "a", data)) as file:
        assert list(reader.datagrams()) == list(file.datagrams())
    os.close(read)


def test_settings_of_the_firmware_say_how_long_a_frame_is(tmp_path):
    long = b"".join(bytes([14, 1, 0x0C, 0x85, 1, 2, 3]) + bytes(8) for _ in range(3))
    with open_readouts(write(tmp_path / "a.bin", long), ASTEP.configured(timestamp_bytes=8)) as reader:
        assert [len(raw) for raw, _, _ in reader.datagrams()] == [HEADER_SIZE + 45]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("4294967296\tb'bc'", "not a readout_id of 32 bits"),
        ("1\tb'bcb'", "odd number of hexadecimal digits"),
        ("1\tb'bcxy'", "hexadecimal digits"),
        ("1\tb'" + "bc" * 66_000 + "'", "more than the"),
        ("Card: {'a': open('x')}", "configuration that cannot be read"),
        ("Card: {'a': }", "configuration that cannot be read"),
        (" Namespace(a=)", "options that cannot be read"),
        (" Namespace(1)(a=2) + (3)", "not a Namespace"),
        ("hello", "neither a readout nor configuration"),
    ],
)
def test_a_line_that_is_wrong_is_named_and_the_others_are_read(line, what):
    parser = LogParser()
    found = parser.feed(f"0\tb'bcbc'\n{line}\n1\tb'bcbc'\n".encode())
    assert [readout.readout_id for readout in found] == [0, 1]
    assert what in str(parser.complaints)
    assert "line 2" in str(parser.complaints)


def test_configuration_behind_readouts_is_no_header():
    parser = LogParser()
    parser.feed(b"0\tb'bcbc'\nCard: {'a': 1}\n")
    assert "Card after the first readout" in str(parser.complaints)
    assert "Card" not in parser.header


def test_options_keep_what_is_no_literal_as_text():
    parser = LogParser()
    parser.feed(b" Namespace(**{'a': 1}, chipVer=3, path=Path('x'), noise=1e999, pair=(1, 2))\n")
    assert parser.header["options"] == {"chipVer": 3, "path": "Path('x')", "noise": "inf", "pair": [1, 2]}
    assert parser.header.readout_uid == 3000


def test_frames_wait_for_others_until_they_are_asked_for():
    parser = FrameParser()
    assert not parser.pending
    parser.feed(frame(0) + frame(1))
    assert parser.pending
    (readout,) = parser.flush()
    assert readout.raw[HEADER_SIZE:] == frame(0) + frame(1)
    assert (parser.pending, parser.next_id) == (False, 1)


def test_noise_longer_than_a_datagram_is_cut_into_several():
    parser = FrameParser()
    noise = bytes(range(1, 200)) * 20
    found = [*parser.feed(frame(0) + noise + frame(1) + frame(2)), *parser.finish()]
    assert b"".join(one.raw[HEADER_SIZE:] for one in found) == frame(0) + noise + frame(1) + frame(2)
    assert max(len(one.raw) for one in found) <= 1400
    assert [one.readout_id for one in found] == list(range(len(found)))
    assert parser.noise_bytes == len(noise)


NOISE = [b"\xff", bytes(1400), frame(0)[4:], b"\xff" + frame(3) + b"\n", b"\n" * 30, frame(1) * 60, frame(2)]


@given(st.lists(st.one_of(st.sampled_from(NOISE), st.binary(max_size=40)), max_size=12), st.integers())
def test_the_readouts_of_noisy_frames_have_the_hits_of_the_whole(parts, seed):
    data = b"".join(parts)
    found = in_pieces(FrameParser(), data, seed)
    hits = [hit for one in found for hit in AStepReadout.from_bytes(one.raw).hits()]
    assert hits == AStepReadout(data, 0, 0).hits()


@pytest.mark.parametrize(
    ("encoding", "mark"), [("utf-8", b""), ("utf-8", b"\xef\xbb\xbf"), ("cp1252", b""), ("latin-1", b"")]
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["a.log", "a.txt", "a.apx"])
def test_a_log_may_be_of_an_encoding_of_windows(tmp_path, encoding, mark, ending, name):
    lines = ["Who: {'name': 'Zoë µ'}", " Namespace(chipVer=3, outdir='E:\\\\Läufe')", "0\tb'20e1bcff'", ""]
    path = write(tmp_path / name, mark + ending.join(lines).encode(encoding))
    with open_readouts(path) as reader:
        assert isinstance(reader, ParsedReader)
        assert [raw[HEADER_SIZE:] for raw, _, _ in reader.datagrams()] == [bytes.fromhex("20e1bc")]
        assert (reader.header["Who"], reader.header["options"]["outdir"]) == ({"name": "Zoë µ"}, "E:\\Läufe")
        assert (reader.header.readout_uid, reader.skipped) == (3000, 0)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_text_of_powershell_is_named(tmp_path, encoding):
    text = "\ufeff" * (encoding != "utf-16") + LOG.decode()
    with pytest.raises(FormatError, match="text in UTF-16, as the > of PowerShell"):
        open_readouts(write(tmp_path / "a.log", text.encode(encoding)))


def test_frames_are_not_taken_for_readouts_of_another_kind(tmp_path):
    path = write(tmp_path / "a.bin", b"".join(map(frame, range(20))))
    with pytest.raises(FormatError, match=r"raw frames, which are A-STEP \(3100\), not AstroPix 4"):
        open_readouts(path, ASTROPIX4)
    with open_readouts(path, ASTEP.configured(tick_ns=50)) as reader:
        assert isinstance(reader, ParsedReader)
        assert reader.raw_frames
    with open_readouts(write(tmp_path / "a.log", LOG)) as reader:
        assert isinstance(reader, ParsedReader)
        assert not reader.raw_frames


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_told_with_its_place_and_size(seed):
    first, second, third = (frame(i) + frame(i + 1) for i in range(3))
    data = frame(0)[4:] + first + b"\xff" * 37 + second + b"\xfe" * 5 + third
    parser = FrameParser()
    in_pieces(parser, data, seed)
    assert str(parser.complaints) == "37 bytes of noise at byte 29; 5 bytes of noise at byte 88"
    assert parser.noise_bytes == 7 + 37 + 5


def test_all_noise_is_one_complaint():
    parser = FrameParser()
    in_pieces(parser, b"\xff" * 5000, 1)
    assert str(parser.complaints) == "5000 bytes of noise at byte 0"


@pytest.mark.parametrize("header", [b"{not json", b"[1]", b'{"readout_uid": "x"}', b"\xff\xfe", b""])
def test_a_damaged_header_leaves_the_readouts_of_a_kind_that_is_named(tmp_path, header):
    body = b"".join(AstroPix4Readout(b"\xe0", i, i).to_bytes() for i in range(3))
    path = write(tmp_path / "run [1].apx", b"%APXDF" + len(header).to_bytes(4, "little") + header + body)
    with pytest.raises(FormatError) as caught:
        open_readouts(path)
    assert str(caught.value).startswith(f"{path}: the header")
    assert str(caught.value).endswith(f"`apx convert '{path}' WHOLE.apx --kind KIND` keeps the readouts")
    with open_readouts(path, ASTROPIX4) as reader:
        assert b"".join(raw for raw, _, _ in reader.datagrams()) == body
        assert dict(reader.header) == {"readout_uid": 4000}
        assert isinstance(reader.header, FileHeader)
        assert reader.header.damage.startswith("the header")


def test_frames_in_a_file_with_another_name_are_named(tmp_path):
    with pytest.raises(FormatError, match=r"a\.apx: not an \.apx file: it has raw frames"):
        open_readouts(write(tmp_path / "a.apx", b"".join(map(frame, range(20)))))
