"""One small tree of exceptions, and one sentence for the operator at each errno."""

import copy
import errno
import io
import os
import pickle
import sys

import pytest

from astropix_stream import errors, fmt, wire
from astropix_stream.batch import Source
from astropix_stream.fileio import FileHeader, apx_open

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="numbers of Linux")


@pytest.mark.parametrize(
    ("error", "built_in"),
    [
        (errors.FormatError, ValueError),
        (errors.WireError, ValueError),
        (errors.ConfigError, ValueError),
        (errors.ReceiveTimeout, TimeoutError),
        (errors.RefusedError, ConnectionRefusedError),
        (errors.ClosedError, ValueError),
    ],
)
def test_each_is_caught_by_its_own_name_by_ours_and_by_pythons(error, built_in):
    public = {name: value for name, value in vars(errors).items() if not name.startswith("_")}
    others = {value for value in public.values() if isinstance(value, type)} - {error}
    for name in (error, errors.AstropixError, built_in):
        with pytest.raises(name):
            raise error("text")
    assert [other for other in others if issubclass(error, other)] == [errors.AstropixError]


@pytest.mark.parametrize("number", errors.ADVICE)
def test_each_errno_has_one_sentence(number):
    error = OSError(number, os.strerror(number))
    text = errors.explain(error)
    assert text.startswith(os.strerror(number) + ": ")
    found = errors.with_context(error, "cannot join")
    assert (type(found), found.errno, found.strerror) == (type(error), number, f"cannot join: {text}")


def test_an_error_is_explained_once():
    once = OSError(errno.ENODEV, "no interface is called 'x'")
    assert errors.explain(once) == "no interface is called 'x'"
    assert errors.explain(OSError(errno.EIO, os.strerror(errno.EIO))) == os.strerror(errno.EIO)
    assert errors.explain(OSError("odd")) == "odd"


def test_an_error_keeps_its_class():
    found = errors.with_context(PermissionError(errno.EPERM, os.strerror(errno.EPERM)), "cannot send")
    assert isinstance(found, PermissionError)
    assert str(found).startswith(
        f"[Errno {errno.EPERM}] cannot send: Operation not permitted: a firewall rule"
    )


READOUT = fmt.AstroPix4Readout(b"\xbc\x01", 7, 1).to_bytes()
START = FileHeader(4000, {}).serialize()
HELLO = wire.HELLO_TOPIC + b"\0"
HEADER = wire.pack_header((0, 1, 1, 0, 0, Source("10.0.0.1", 1)))
RECORD = wire.RECORD_SIZE.pack(len(READOUT)) + HEADER + READOUT
TOPIC = wire.data_topic("a")


class Pipe(io.BytesIO):
    def tell(self):
        raise io.UnsupportedOperation("underlying stream is not seekable")


def seeked(data, at):
    file = io.BytesIO(data)
    file.seek(at)
    return file


@pytest.mark.parametrize(
    ("parse", "offset", "reason"),
    [
        (lambda: fmt.parse_header(b"\xfe\xdc"), 0, "2 bytes, where the header"),
        (lambda: fmt.parse_header(bytes(30), 5), 5, "begins with 00 00 00, not"),
        (lambda: list(fmt.split(READOUT * 2 + bytes(19), 100)), 142, "begins with 00 00 00, not"),
        (lambda: fmt.AstroPix4Readout.from_bytes(READOUT + b"x"), 0, "header announces 2 bytes"),
        (lambda: fmt.AstroPix4Readout.from_file(seeked(READOUT + bytes(30), 21)), 21, "begins with"),
        (lambda: fmt.AstroPix4Readout.from_file(seeked(READOUT * 2 + READOUT[:20], 42)), 42, "the file"),
        (lambda: fmt.AstroPix4Readout.from_file(Pipe(READOUT[:20])), None, "the file ends in"),
        (lambda: fmt.AstroPix4Hit(b"", 0, 0, 0), 0, "a hit is 8 bytes"),
        (lambda: FileHeader.from_file(io.BytesIO(b"PK")), 0, "not an .apx file"),
        (lambda: FileHeader.from_file(io.BytesIO(START[:-1])), len(START) - 1, "the file ends in"),
        (lambda: wire.parse_message([b"nonsense"]), 0, "a single frame that is not a hello"),
        (lambda: wire.parse_message([HELLO + b"{"]), len(HELLO), "a payload that is not JSON"),
        (lambda: wire.parse_message([TOPIC, b"APXX" + HEADER[4:], READOUT]), 0, "a frame that begins"),
        (lambda: wire.parse_message([TOPIC, HEADER[:4] + b"\2" + HEADER[5:], b""]), 4, "protocol version 2"),
        (lambda: wire.parse_message([TOPIC, HEADER[:6] + b"\0\0" + HEADER[8:], b""]), 6, "a data message"),
        (lambda: wire.parse_answer(b"APXA"), 4, "an answer of 4 bytes"),
        (lambda: wire.walk_payload(READOUT * 2 + bytes(21), 3), 42, "no readout at byte 42"),
        (lambda: wire.walk_payload(READOUT * 2 + READOUT[:-1], 3), 42, "a payload of 62 bytes whose"),
        (lambda: wire.walk_payload(READOUT * 2 + READOUT[:9], 3), 42, "a payload of 51 bytes that ends"),
        (lambda: wire.walk_payload(READOUT * 2, 1), 21, "a payload of 42 bytes whose 1 readouts"),
        (lambda: list(wire.walk_page(RECORD + RECORD[:9])), len(RECORD), "a page of"),
        (lambda: list(wire.walk_page(RECORD + bytes(60))), len(RECORD) + 4, "a frame that begins"),
    ],
)  # fmt: skip
def test_an_error_about_bytes_says_where_and_why_also_after_pickling(parse, offset, reason):
    with pytest.raises((errors.FormatError, errors.WireError)) as caught:
        parse()
    error = caught.value
    for found in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(found), found.offset, str(found)) == (type(error), offset, str(error))
        assert found.reason.startswith(reason)
        assert str(found).endswith(found.reason)


def test_of_a_file_the_offset_is_that_of_the_text_and_the_reason_has_no_path(tmp_path):
    path = tmp_path / "x.apx"
    path.write_bytes(START + READOUT * 3 + bytes(40))
    with apx_open(path) as run, pytest.raises(errors.FormatError) as caught:
        list(run)
    at = len(START) + 3 * len(READOUT)
    assert caught.value.offset == at
    assert str(caught.value) == f"{path}: not a readout at byte {at}: {caught.value.reason}"


@pytest.mark.parametrize("error", [errors.FormatError, errors.WireError])
def test_an_error_about_no_byte_has_no_offset(error):
    assert (error("text").offset, error("text").reason, str(error())) == (None, None, "")
    with pytest.raises(errors.FormatError, match="the uid 1;") as caught:
        fmt.uid_to_readout_class(1)
    assert (caught.value.offset, caught.value.reason) == (None, None)


def test_many_readouts_at_once_say_it_too():
    columns = pytest.importorskip("astropix_stream.columns")
    for wrong, reason in ((bytes(30), "begins with 00 00 00"), (READOUT[:-1], "20 bytes left over")):
        with pytest.raises(errors.FormatError) as caught:
            columns.decode_columns(READOUT * 2 + wrong)
        assert caught.value.offset == 2 * len(READOUT)
        assert str(caught.value.reason).startswith(reason)


def test_the_hits_of_a_whole_file_say_it_too(tmp_path):
    columns = pytest.importorskip("astropix_stream.columns")
    path = tmp_path / "x.apx"
    path.write_bytes(START + READOUT * 3 + bytes(40))
    with pytest.raises(errors.FormatError) as caught:
        columns.columns(path)
    assert caught.value.offset == len(START) + 3 * len(READOUT)
    assert str(caught.value.reason).startswith("begins with 00 00 00")
