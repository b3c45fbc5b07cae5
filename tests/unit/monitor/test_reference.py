"""Files to compare runs with."""

import pytest

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.errors import ConfigError
from astropix_stream.fileio import FileHeader
from astropix_stream.fmt import ASTEP, AStepReadout, AstroPix4Readout
from astropix_stream.monitor.reference import read_references
from unit.monitor.stream import BEGIN_NS, readout


def write(path, readout_class, readouts):
    path.write_bytes(FileHeader(readout_class, {}).serialize() + b"".join(one.to_bytes() for one in readouts))
    return path


def test_the_longest_run_of_each_file(tmp_path):
    some = [readout(i, BEGIN_NS + i) for i in range(30)] + [
        readout(i, BEGIN_NS + 10**10 + i) for i in range(80)
    ]
    first = write(tmp_path / "a.apx", AstroPix4Readout, some)
    second = write(tmp_path / "b.apx", AStepReadout, [Detector(seed=1, kind=ASTEP).readout(0, BEGIN_NS)])
    one, other = read_references([first, second])
    assert (one.counts.readouts, one.name, one.reference) == (80, "reference", "a.apx")
    assert (other.counts.geometry.kind.uid, other.name) == (3100, "reference-2")


def test_without_readouts(tmp_path):
    path = write(tmp_path / "empty.apx", AstroPix4Readout, [])
    with pytest.raises(ConfigError, match=r"--reference .*empty\.apx: there are no readouts in it"):
        read_references([path])


def test_one_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_references([tmp_path / "none.apx"])
