"""The wheel builds, installs in an environment of its own, and carries its types."""

import subprocess
import sys
import zipfile

import pytest

import wheels


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return wheels.build(tmp_path_factory.mktemp("wheel"))


def test_both_packages_are_in_it_with_their_types(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {"astropix_stream/py.typed", "astropix_relay/py.typed"} <= set(names)
    assert {name.split("/")[0] for name in names} <= {
        "astropix_stream",
        "astropix_bridge",
        "astropix_daemon",
        "astropix_relay",
        "zz_astropix_analysis_names.pth",
        f"{wheel.name.split('-py3')[0]}.dist-info",
    }


def test_the_conformance_kit_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        for path in (wheels.REPOSITORY / "conformance").iterdir():
            assert archive.read(f"astropix_stream/conformance/{path.name}") == path.read_bytes()


def test_a_daq_host_needs_nothing_else(wheel, tmp_path):
    """Installed alone, without what it depends on, a DAQ host can send."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, wheel], check=True)
    program = (
        "from astropix_stream.fmt import AstroPix4Readout\n"
        "from astropix_stream.sock import MulticastSender\n"
        "with MulticastSender(ttl=0, interface='127.0.0.1') as sender:\n"
        "    print(sender.send_readout(AstroPix4Readout(b'\\x01', 0)))\n"
    )
    done = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "20\n"
