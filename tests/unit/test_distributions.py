"""What is installed beside ours, as metadata and the path tell it."""

import sys

import pytest

from astropix_stream import distributions


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Pretend, for this process, that a distribution is installed."""

    def install(name, version, package=None):
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        if package:
            (tmp_path / package).mkdir()
            (tmp_path / package / "__init__.py").touch()

    monkeypatch.syspath_prepend(tmp_path)
    return install


def test_alone_ours_provides_the_documented_names():
    assert distributions.conflict() is None
    assert distributions.foreign_spec() is None
    assert distributions.imported_as() == "the documented names of astropix-stream"


def test_the_public_package_wins_and_is_named(installed, tmp_path):
    installed("astropix-analysis", "9.9", "astropix_analysis")
    assert distributions.conflict() is None
    assert distributions.foreign_spec().origin == str(tmp_path / "astropix_analysis/__init__.py")
    assert distributions.imported_as() == f"astropix-analysis 9.9 ({tmp_path / 'astropix_analysis'})"


def test_a_package_of_that_name_without_metadata_is_named_too(tmp_path, monkeypatch):
    (tmp_path / "astropix_analysis").mkdir()
    (tmp_path / "astropix_analysis/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert distributions.imported_as() == f"not ours ({tmp_path / 'astropix_analysis'})"


def test_a_folder_without_modules_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "astropix_analysis").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert distributions.foreign_spec() is None


def test_without_our_folder_on_the_path_there_are_none(monkeypatch):
    """As with ``pip install --target`` and in zipapps, which read no .pth file."""
    path = [entry for entry in sys.path if not entry.endswith("documented_names")]
    monkeypatch.setattr(sys, "path", path)
    assert distributions.imported_as() == "none"


def test_version_0_1_is_a_conflict_with_its_cure(installed):
    installed("astropix-relay", "0.1.0")
    assert distributions.conflict() == (
        "astropix-relay 0.1.0 is installed beside astropix-stream, which has replaced it: "
        "pip uninstall --yes astropix-relay astropix-stream, then install astropix-stream again"
    )
