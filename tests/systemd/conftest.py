"""One container for all tests here; where it cannot boot they say why, and in CI that is a failure."""

import os
from collections.abc import Iterator

import pytest
from container import REPOSITORY, Container, UnavailableError, booted, check_host, make_tree, make_wheelhouse


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
    """`make install` has been run in the container, as an administrator with a strict umask runs it."""
    offline = ("PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels", "PIP_NO_CACHE_DIR=1")
    container.run("env", *offline, "sh", "-c", "umask 077 && make -C /src install", timeout_s=120)
    return container
