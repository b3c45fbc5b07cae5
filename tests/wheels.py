"""Our wheel, a stand-in for the public astropix-analysis package, and environments to install them in."""

import base64
import hashlib
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip"]

# The modules that the public package has (astropix_analysis.analysis is one of its own).
STAND_IN = {
    "astropix_analysis/__init__.py": "WHOSE = 'the stand-in'\n",
    "astropix_analysis/analysis.py": "from astropix_analysis.fmt import WHOSE\n",
    "astropix_analysis/fmt.py": "WHOSE = 'the stand-in'\n",
    "astropix_analysis/sock.py": "WHOSE = 'the stand-in'\n",
    "astropix_analysis/fileio.py": "WHOSE = 'the stand-in'\n",
    "astropix_analysis/cli/__init__.py": "",
    "astropix_analysis/monitor/__init__.py": "",
}


def build(folder):
    """Build our wheel."""
    pip = [*PIP, "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", folder, REPOSITORY], check=True)
    (wheel,) = folder.glob("astropix_stream-*-py3-none-any.whl")
    return wheel


def write_wheel(folder, distribution, version, files):
    """Write a wheel of these files, as a build backend would."""
    name = f"{distribution.replace('-', '_')}-{version}"
    info = f"{name}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},{_digest(text)},{len(text.encode())}\n" for path, text in files.items())
    path = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            wheel.writestr(file, text)
    return path


def _digest(text):
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def stand_in(folder):
    """Write a wheel with the distribution and module names of the public package, and content of its own."""
    return write_wheel(folder, "astropix-analysis", "9.9", STAND_IN)


def unpack(wheel, folder):
    """Install a wheel where pip has no name for: the site-packages of somebody else's Python."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)


class Environment:
    """A virtual environment; with `system`, one that also sees the packages of the Python in that folder."""

    def __init__(self, folder, system=None):
        self.python = folder / "bin/python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.site = next(folder.glob("lib/python*/site-packages"))
        if system is not None:
            config = folder / "pyvenv.cfg"
            lines = dict(line.split(" = ") for line in config.read_text().splitlines())
            lines |= {"home": str(system / "bin"), "include-system-site-packages": "true"}
            config.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))

    def pip(self, *words):
        command = [*PIP, "--python", self.python, *words]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def install(self, *wheels):
        for wheel in wheels:
            self.pip("install", "--quiet", "--no-deps", "--no-index", wheel)

    def uninstall(self, distribution):
        self.pip("uninstall", "--quiet", "--yes", distribution)

    def run(self, *words, check=True, **variables):
        command = [self.python, *words]
        environment = {**os.environ, "PYTHONNOUSERSITE": "1", **variables}
        return subprocess.run(command, env=environment, check=check, capture_output=True, text=True)

    def says(self, program, **variables):
        return self.run("-c", program, **variables).stdout.strip()


def system_python(folder):
    """Make what a venv takes for the system's Python, with site-packages of its own; return those."""
    library = folder / "lib" / f"python{sysconfig.get_python_version()}"
    (library / "site-packages").mkdir(parents=True)
    (folder / "bin").mkdir()
    for entry in Path(sysconfig.get_path("stdlib")).iterdir():
        if entry.name != "site-packages":
            (library / entry.name).symlink_to(entry)
    (folder / "bin/python3").symlink_to(Path(sys.base_prefix, "bin/python3"))
    return library / "site-packages"
