"""One container for all tests here; where it cannot boot they say why, and in CI that is a failure."""

import os
from collections.abc import Iterator

import pytest

from systemd.container import (
    REPOSITORY,
    Container,
    UnavailableError,
    booted,
    check_host,
    make,
    make_tree,
    make_wheelhouse,
)


@pytest.fixture(scope="session")
def container() -> Iterator[Container]:
    try:
        check_host()
        binds = {REPOSITORY: "/src", make_wheelhouse(): "/wheels"}
        with booted(make_tree(), binds=binds) as container:
            yield container
    except UnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no systemd to test against: {error}")
        pytest.skip(f"no systemd to test against: {error}")


@pytest.fixture(scope="session")
def installed(container: Container) -> Container:
    """`make install-bridge` has been run in the container: the relay, and the bridge beside it."""
    make(container, "install-bridge")
    return container
