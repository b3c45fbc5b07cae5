"""The fault matrix, shortened: what was injected is what was counted. ``make faults`` runs it in full."""

import pytest

from matrix.__main__ import run_row, run_side_by_side, seen_red
from matrix.mutants import CODE, check_line
from matrix.rows import ROWS


def failures_of(rows):
    """Run rows side by side; return what was counted otherwise than injected."""
    return {
        row.name: bench.failures
        for row, bench in run_side_by_side(rows, lambda row: run_row(row, quick=True))
        if bench.failures
    }


def is_attack(row):
    return row.run.__module__ in ("matrix.attacks", "matrix.surroundings")


@pytest.mark.alone
@pytest.mark.timeout(450)
def test_what_was_injected_is_what_was_counted():
    assert not failures_of([row for row in ROWS if not is_attack(row)])


# Of each kind of attack one; `make faults` has all.
IN_CI = (
    "attack: messages of endless frames",
    "attack: endless frames at history",
    "attack: random topics, by a key on the list",
    "attack: silent connections to the limit of descriptors",
    "attack: slow handshakes, encrypted",
    "attack: half frames of 4 MiB",
    "attack: 62 clients never read 20 MB/s",
    "attack: 62 clients ask history and never read",
    "attack: metrics, crowded",
    "stderr blocked",
)


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_no_attack_harms_a_subscriber():
    rows = [row for row in ROWS if row.name in IN_CI]
    assert len(rows) == len(IN_CI)
    assert not failures_of(rows)


def test_each_line_to_be_broken_is_there():
    for row in ROWS:
        for broken in row.broken:
            check_line(broken, CODE[broken.file.partition("/")[0]] / broken.file)


def test_each_row_was_seen_red_since_it_was_changed():
    assert [row.name for row in ROWS if seen_red().get(row.name) != row.digest] == []
