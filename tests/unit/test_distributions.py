"""Both packages in one environment: the module that is imported is chance, and a person is told."""

import subprocess
import sys

import pytest

from astropix_analysis import distributions


@pytest.fixture
def both_installed(tmp_path):
    """A folder for the module path in which the public package is installed, as far as metadata tells."""
    info = tmp_path / "astropix_analysis-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: astropix-analysis\nVersion: 9.9\n")
    return tmp_path


def test_silent_while_ours_is_alone():
    assert distributions.clash() is None


@pytest.mark.parametrize("module", ["astropix_analysis.cli", "astropix_relay"])
def test_the_version_says_so(both_installed, module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"],
        env={"PYTHONPATH": str(both_installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "astropix-analysis 9.9 is installed in the same environment as astropix-relay" in done.stderr
