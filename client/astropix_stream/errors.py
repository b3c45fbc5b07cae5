"""Every exception of the project.

::

    AstropixError
    ├── FormatError(ValueError)       bytes that are not a readout or an .apx file
    ├── WireError(ValueError)         frames that are not the relay protocol's
    ├── ConfigError(ValueError)       a configuration, URL or option that a person got wrong
    ├── ReceiveTimeout(TimeoutError)  nothing arrived in the time that the caller allowed
    ├── RefusedError(ConnectionRefusedError)  a relay that does not let this client in
    └── ClosedError(ValueError)       a sender or receiver used after close()

Bytes from outside raise the first two and nothing else. An `OSError` passes through, with the group, port
and interface in its text.
"""


class AstropixError(Exception):
    """Base of every exception that this project raises itself."""


class FormatError(AstropixError, ValueError):
    """Bytes that are not a readout, or not an .apx file."""


class WireError(AstropixError, ValueError):
    """Frames that do not follow the relay protocol."""


class ConfigError(AstropixError, ValueError):
    """A configuration, URL or option that is wrong; the text says what would be right."""


class ReceiveTimeout(AstropixError, TimeoutError):
    """No readout arrived within the caller's timeout."""


class RefusedError(AstropixError, ConnectionRefusedError):
    """The relay does not let this client in; the text says why, as far as it tells."""


class ClosedError(AstropixError, ValueError):
    """A sender or receiver was used after it was closed."""
