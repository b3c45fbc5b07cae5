"""What a DAQ host pays for: the standard library alone, and the time to import it."""

import subprocess
import sys
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "client"

# No site-packages (-S), nothing from the environment (-I): only the standard library and our folder.
IMPORT = """
import sys, time
sys.path.insert(0, sys.argv[1])
before, begin = set(sys.modules), time.perf_counter()
for name in sys.argv[2].split():
    __import__(name)
print(round(1e3 * (time.perf_counter() - begin), 1), "ms", file=sys.stderr)
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def imported_with(names):
    argv = [sys.executable, "-S", "-I", "-c", IMPORT, CLIENT, names]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    print(f"import {names}: {done.stderr.strip()}")
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "names",
    [
        "astropix_stream.sock",
        "astropix_stream.fmt",
        "astropix_stream.fileio",
        "astropix_stream.sock astropix_stream.fmt astropix_stream.url",
    ],
)
def test_a_daq_host_needs_the_standard_library_alone(names):
    imported = imported_with(names)
    assert imported - sys.stdlib_module_names == {"astropix_stream"}


def test_a_daq_host_does_not_pay_for_what_it_does_not_use():
    imported = imported_with("astropix_stream.sock astropix_stream.fmt")
    assert not imported & {"asyncio", "json", "pathlib", "subprocess", "tempfile", "typer", "urllib", "zmq"}


def test_the_package_alone_imports_nothing_else():
    assert imported_with("astropix_stream") == {"astropix_stream"}
