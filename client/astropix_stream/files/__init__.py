"""Files of readouts of each format: `.apx`, a text `.log`, and raw A-STEP frames in a `.bin`.

`parsers` are pure: bytes in, readouts out, as much of them as is whole; so they read a file that grows as
well as one that is complete. `reading` opens a file, or standard input, and tells its format by its content.
"""

from astropix_stream.files.apx import ApxParser
from astropix_stream.files.formats import Format, tell_format
from astropix_stream.files.frames import FrameParser
from astropix_stream.files.parser import Found, Parser
from astropix_stream.files.reading import STDIN, ParsedReader, describe_damage, make_parser, open_readouts
from astropix_stream.files.text_log import LogParser

__all__ = [
    "STDIN",
    "ApxParser",
    "Complaints",
    "Format",
    "Found",
    "FrameParser",
    "LogParser",
    "ParsedReader",
    "Parser",
    "describe_damage",
    "make_parser",
    "open_readouts",
    "tell_format",
]
