"""One small tree of exceptions, and one sentence for the operator at each errno."""

import errno
import os
import sys

import pytest

from astropix_stream import errors

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
    others = {name for name in vars(errors).values() if isinstance(name, type)} - {error}
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
