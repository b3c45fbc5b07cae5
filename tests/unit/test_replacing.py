"""A file is replaced as a whole or not at all, and no other file is touched."""

import os

import pytest

from astropix_stream.replacing import replacement


def test_the_new_file_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "hits.csv"
    path.write_text("old")
    with replacement(path) as new:
        new.write_text("new")
        assert path.read_text() == "old"
        assert new.parent == tmp_path
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_after_a_failure_all_is_as_before(tmp_path):
    path = tmp_path / "hits.csv"
    path.write_text("old")
    with pytest.raises(IsADirectoryError), replacement(path) as new:
        (new.parent / ".").write_text("this fails")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["hits.csv.new", ".hits.csv.part", ".hits.csv.new"])
def test_files_of_other_names_are_left_alone(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with replacement(tmp_path / "hits.csv") as new:
        new.write_text("new")
    assert (tmp_path / name).read_text() == "mine"


def test_a_name_as_long_as_names_can_be(tmp_path):
    path = tmp_path / ("x" * 251 + ".csv")
    with replacement(path) as new:
        new.write_text("new")
    assert path.read_text() == "new"


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of Unix")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_it_may_be_read_by_whom_the_umask_says(tmp_path, mask):
    before = os.umask(mask)
    try:
        with replacement(tmp_path / "x"):
            pass
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~mask
