"""Beside the public astropix-analysis package: neither harms the other, whoever was installed first."""

import csv
import sysconfig
from importlib import metadata

import pytest

import wheels
from wheels import Environment

DOCUMENTED = "from astropix_analysis.sock import MulticastSender; print(MulticastSender.__module__)"
WHOSE = "import astropix_analysis.analysis as a, astropix_analysis.sock as s; print(a.WHOSE, s.WHOSE)"
OURS, THEIRS = "astropix_stream.sock.sender", "the stand-in the stand-in"
OUR_LIBRARY = "import astropix_stream.sock as s; print(s.MulticastSender.__module__)"


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return wheels.build(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    return wheels.stand_in(tmp_path_factory.mktemp("theirs"))


@pytest.fixture
def environment(tmp_path):
    return Environment(tmp_path / "venv")


def files_of(environment, distribution):
    (info,) = environment.site.glob(f"{distribution}-*.dist-info")
    with open(info / "RECORD", newline="") as record:
        return {row[0] for row in csv.reader(record)}


@pytest.mark.parametrize("order", ["ours first", "theirs first"])
class TestBoth:
    @pytest.fixture(autouse=True)
    def _install(self, environment, ours, theirs, order):
        environment.install(*((ours, theirs) if order == "ours first" else (theirs, ours)))

    def test_each_name_gives_its_own(self, environment):
        assert environment.says(WHOSE) == THEIRS
        assert environment.says(OUR_LIBRARY) == OURS

    def test_not_one_file_belongs_to_both(self, environment):
        one, other = (files_of(environment, name) for name in ("astropix_stream", "astropix_analysis"))
        assert len(one) > 100
        assert len(other) > len(wheels.STAND_IN)
        assert not one & other

    def test_ours_leaves_theirs_whole(self, environment):
        environment.uninstall("astropix-stream")
        assert environment.says(WHOSE) == THEIRS
        assert not list(environment.site.glob("*.pth"))
        assert not list(environment.site.glob("astropix_stream*"))

    def test_theirs_leaves_ours_whole_and_its_names_serve(self, environment):
        environment.uninstall("astropix-analysis")
        assert environment.says(OUR_LIBRARY) == OURS
        assert environment.says(DOCUMENTED) == OURS


def test_the_documented_names_serve_alone(environment, ours):
    environment.install(ours)
    assert environment.says(DOCUMENTED) == OURS
    assert environment.says("import astropix_analysis; print(astropix_analysis.__version__)")
    assert "the documented names of astropix-stream" in environment.says(
        "from astropix_stream import distributions; print(distributions.imported_as())"
    )


@pytest.fixture
def their_folder(tmp_path, theirs):
    folder = tmp_path / "checkout"
    wheels.unpack(theirs, folder)
    return folder


def test_theirs_may_be_editable_by_a_path(environment, ours, their_folder):
    environment.install(ours)
    (environment.site / "__editable__.astropix_analysis.pth").write_text(f"{their_folder}\n")
    assert environment.says(WHOSE) == THEIRS


def test_theirs_may_be_editable_by_a_finder(environment, ours, their_folder):
    """Setuptools appends one to sys.meta_path: it is asked after our folder was found."""
    environment.install(ours)
    (environment.site / "their_finder.py").write_text(
        "import sys\nfrom importlib.machinery import PathFinder\n"
        "class Finder:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        f"        return PathFinder.find_spec(name, [{str(their_folder)!r}]) if path is None else None\n"
        "sys.meta_path.append(Finder)\n"
    )
    (environment.site / "__editable__.pth").write_text("import their_finder\n")
    assert environment.says(WHOSE) == THEIRS


@pytest.fixture
def system(tmp_path, theirs):
    wheels.unpack(theirs, wheels.system_python(tmp_path / "system"))
    return tmp_path / "system"


def test_in_a_venv_that_sees_the_systems_packages_theirs_wins(tmp_path, ours, system):
    environment = Environment(tmp_path / "venv", system)
    environment.install(ours)
    path = environment.says("import sys; print(*sys.path)").split()
    assert path.index(f"{environment.site}/astropix_stream/documented_names") < len(path) - 1
    assert environment.says(WHOSE) == THEIRS
    assert environment.says(OUR_LIBRARY) == OURS
    told = environment.says("from astropix_stream import distributions; print(distributions.imported_as())")
    assert told.startswith(f"astropix-analysis 9.9 ({system}/")


def test_ours_in_the_users_site_gives_way_to_theirs_in_the_systems(tmp_path, ours, system):
    environment = Environment(tmp_path / "venv", system)
    user = tmp_path / "user"
    wheels.unpack(ours, user / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages")
    variables = {"PYTHONUSERBASE": str(user), "PYTHONNOUSERSITE": ""}
    assert environment.says(OUR_LIBRARY, **variables) == OURS
    assert environment.says(WHOSE, **variables) == THEIRS


def test_an_error_of_theirs_is_told_as_it_is(environment, ours, tmp_path):
    folder = tmp_path / "broken"
    (folder / "astropix_analysis").mkdir(parents=True)
    (folder / "astropix_analysis/__init__.py").write_text("raise ImportError('needs loguru')\n")
    environment.install(ours)
    (environment.site / "zzz.pth").write_text(f"{folder}\n")
    done = environment.run("-c", "import astropix_analysis", check=False)
    assert "ImportError: needs loguru" in done.stderr


@pytest.fixture
def beside_old(environment, ours, tmp_path):
    """Version 0.1, whose distribution had another name and whose daemon had the same one."""
    files = {"astropix_analysis/__init__.py": "", "astropix_relay/__init__.py": ""}
    environment.install(wheels.write_wheel(tmp_path, "astropix-relay", "0.1.0", files), ours)
    return environment


@pytest.mark.parametrize("words", [("astropix_stream.cli", "--version"), ("astropix_relay", "run")])
def test_nothing_runs_beside_version_0_1(beside_old, words):
    # What they depend on is this environment's own.
    done = beside_old.run("-m", *words, check=False, PYTHONPATH=sysconfig.get_path("purelib"))
    assert done.returncode in (1, 2)
    assert "astropix-relay 0.1.0 is installed beside astropix-stream" in done.stderr
    assert "pip uninstall --yes astropix-relay astropix-stream" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_cure_cures(beside_old, ours):
    beside_old.uninstall("astropix-relay")
    beside_old.uninstall("astropix-stream")
    beside_old.install(ours)
    assert beside_old.says(OUR_LIBRARY) == OURS
    done = beside_old.run(
        "-m", "astropix_relay", "--version", check=False, PYTHONPATH=sysconfig.get_path("purelib")
    )
    assert done.stdout.startswith(f"astropix-relay {metadata.version('astropix-stream')} ")
