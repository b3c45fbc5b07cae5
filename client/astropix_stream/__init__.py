"""Receive, decode and record AstroPix readouts.

What a DAQ and a monitor import. `sock` and `fmt` need the standard library alone, so that a DAQ host
installs nothing and pays no import time; nothing here is imported before it is asked for.
"""

from astropix_stream._version import __version__

__all__ = ["__version__"]
