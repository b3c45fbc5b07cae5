r"""The text log of a DAQ: its configuration, then a line for each readout. Pure.

::

    Voltagecard: {'thpmos': 0, 'vcasc2': 1.1}
     Namespace(name='threshold_40mV', chipVer=4)
    0<TAB>b'bcbce050fecd067cc500bcbc…ffff'

`chipVer` says the kind. There are no timestamps. Files from Windows have lines that end with CR LF, and may
begin with a mark of UTF-8, or be of its own encoding. A line that cannot be understood is skipped, counted
and named.
"""

import ast
import re
from typing import Any

from astropix_stream.errors import FormatError
from astropix_stream.fileio import FileHeader
from astropix_stream.files.parser import Found, Parser
from astropix_stream.fmt import ASTROPIX3, ASTROPIX4, HEADER, MAGIC, MAX_DATA, Kind

_KINDS = {3: ASTROPIX3, 4: ASTROPIX4}
_READOUT = re.compile(rb"\s*(\d{1,20})[\t ]+b(['\"])(.*)\2\s*", re.DOTALL)
_SETTING = re.compile(r"([^\W\d][\w .-]{0,99}):\s*(\{.*\})\s*", re.DOTALL)
_OPTIONS = re.compile(r"\s*Namespace\(.*\)\s*", re.DOTALL)
_MAX_LINE = 1 << 20  # bytes; a readout has 4112, a configuration some 1000
_PADDING = b"\xff"
_MARK = b"\xef\xbb\xbf"  # with which Windows begins files of UTF-8


class LogParser(Parser):
    """Finds the readouts of a text log.

    Parameters
    ----------
    kind
        What the readouts are, whatever the options say.
    offset
        Where in the file the bytes begin that it will get.

    Attributes
    ----------
    header : FileHeader
        A key for each line of configuration, and `options`; complete with the first readout.
    configuration_ended : bool
        Whether there was a readout.
    """

    def __init__(self, kind: Kind | None = None, offset: int = 0) -> None:
        super().__init__(offset)
        self._kind = kind
        self._content: dict[str, Any] = {}
        self._line = 0
        self._skipping = False
        self.configuration_ended = False
        self._make_header()

    def feed(self, data: bytes) -> list[Found]:
        """Take the bytes that follow; return the readouts of the lines that are complete now."""
        lines = (self._buffer + data).split(b"\n")
        self._buffer = lines.pop()
        found: list[Found] = []
        for line in lines:
            self._take_line(line, 1, found)
        if len(self._buffer) > _MAX_LINE:
            if not self._skipping:
                self._complain(f"more than {_MAX_LINE} bytes", self._line + 1)
            self._skipping = True
            self.offset += len(self._buffer)
            self._buffer = b""
        return found

    def finish(self) -> list[Found]:
        """Return the readout of a last line without an end, if it is whole."""
        found: list[Found] = []
        if _READOUT.fullmatch(self._buffer) or not self._buffer.strip():
            line, self._buffer = self._buffer, b""
            self._take_line(line, 0, found)
        return found

    def _take_line(self, line: bytes, newline: int, found: list[Found]) -> None:
        self._line += 1
        begin = self.offset
        self.offset += len(line) + newline
        if self._skipping:
            self._skipping = False
            return
        if begin == 0:
            line = line.removeprefix(_MARK)
        if not line.strip():
            return
        try:
            if match := _READOUT.fullmatch(line):
                raw, readout_id = _readout(int(match[1]), match[3])
                self.configuration_ended = True
                found.append(Found(raw, readout_id, 0, begin, self.offset))
            else:
                self._take_configuration(_text(line))
        except FormatError as error:
            self._complain(str(error), self._line)

    def _complain(self, text: str, line: int) -> None:
        self.complaints.add(f"line {line}: {text}")

    def _take_configuration(self, line: str) -> None:
        if match := _SETTING.fullmatch(line):
            name, value = match[1].strip(), _literal(match[2])
        elif _OPTIONS.fullmatch(line):
            name, value = "options", _namespace(line.strip())
        else:
            raise FormatError(f"neither a readout nor configuration: {line.strip()[:40]!r}")
        if self.configuration_ended:
            raise FormatError(f"{name} after the first readout")
        self._content[name] = value
        self._make_header()

    def _make_header(self) -> None:
        options = self._content.get("options")
        version = options.get("chipVer") if isinstance(options, dict) else None
        known = _KINDS.get(version) if isinstance(version, int) else None
        self.header = FileHeader((self._kind or known or ASTROPIX4).uid, self._content)
        self.header.is_assumed = self._kind is None and known is None


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


def _readout(readout_id: int, digits: bytes) -> tuple[bytes, int]:
    """Make a readout of a line's number and hexadecimal digits."""
    if readout_id > 0xFFFFFFFF:
        raise FormatError(f"{readout_id} is not a readout_id of 32 bits")
    if len(digits) % 2:
        raise FormatError(f"readout {readout_id} has an odd number of hexadecimal digits ({len(digits)})")
    try:
        data = bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        raise FormatError(f"readout {readout_id} has characters other than hexadecimal digits") from None
    data = data.rstrip(_PADDING)
    if len(data) > MAX_DATA:
        raise FormatError(
            f"readout {readout_id} has {len(data)} bytes, more than the {MAX_DATA} of a datagram"
        )
    return HEADER.pack(MAGIC, readout_id, 0, len(data)) + data, readout_id


def _literal(text: str | ast.expr) -> Any:
    try:
        return _for_json(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise FormatError(f"configuration that cannot be read: {error}") from None


def _namespace(text: str) -> dict[str, Any]:
    """Read ``Namespace(key=value, …)``; what is no literal stays text."""
    try:
        call = ast.parse(text, mode="eval").body
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise FormatError(f"options that cannot be read: {error}") from None
    if not isinstance(call, ast.Call):
        raise FormatError("options that are not a Namespace(…)")
    values: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            continue
        try:
            values[keyword.arg] = _literal(keyword.value)
        except FormatError:
            values[keyword.arg] = ast.unparse(keyword.value)
    return values


def _for_json(value: Any) -> Any:
    """Turn what JSON does not have into text."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _for_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_for_json(item) for item in value]
    if isinstance(value, float) and value - value != 0.0:  # not finite
        return repr(value)
    return value if value is None or isinstance(value, str | int | float | bool) else repr(value)
