"""The documented module paths offer what the modules behind them do, and nothing else."""

import importlib

import pytest


@pytest.mark.parametrize("name", ["sock", "fmt", "fileio", "relay"])
def test_each_is_the_module_behind_it(name):
    documented = importlib.import_module(f"astropix_analysis.{name}")
    ours = importlib.import_module(f"astropix_stream.{name}")
    assert sorted(documented.__all__) == sorted(ours.__all__)
    for public in ours.__all__:
        assert getattr(documented, public) is getattr(ours, public)
