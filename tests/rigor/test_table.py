"""The table of reference values, and the command that makes it."""

import math
import subprocess
import sys

import pytest

from rdtheory import rigor
from rdtheory.rigor import table
from tests.commands import one_after_another

ROWS = rigor.reference()


def test_the_table_has_the_problems_that_it_says():
    assert [row[:3] for row in ROWS] == [(p, d, D) for p, d, targets in table.PROBLEMS for D in targets]
    assert len(ROWS) >= 40
    for row in ROWS:
        decimals = len(row.rate.partition(".")[2])
        assert decimals >= (10 if ":" in row.source and row.distortion == "squared" else 30) or decimals >= 30


@pytest.mark.parametrize("row", [ROWS[4], ROWS[9], ROWS[14], ROWS[18]], ids=lambda row: f"{row.source} {row.D}")
def test_some_rows_are_proved_anew(row):
    assert table.proved_row(*row[:3]) == row


@pytest.mark.long
def test_all_rows_are_proved_anew():
    for row in ROWS:
        found = table.proved_row(*row[:3])
        digits = min(len(value.rate.partition(".")[2]) for value in (row, found))
        assert digits >= 10 and abs(float(found.rate) - float(row.rate)) <= 2 * 10.0**-digits + 1e-15, (row, found)


def test_known_values():
    by = {row[:3]: row.rate for row in ROWS}
    assert by["fair:4", "erasure", "0.5"] == "1." + "0" * 30
    assert math.isclose(float(by["gaussian:1", "squared", "1/16"]), 2, abs_tol=1e-15)


def test_the_command():
    calls = [
        ("prove", "0.7,0.3", "--at", "0.1", "--digits", "20"),
        ("prove", "fair:3,4", "--at", "0.1"),
        ("prove", "fare:3", "--at", "0.1"),
        ("prove", "1/2,1/2", "--at", "0.1", "--distortion", "haming"),
        ("prove", "1/2,1/2"),
        ("prove", "1/2,1/2", "--at=-1"),
        ("prove", "--help"),
    ]
    good, count, name, measure, nothing, negative, page = one_after_another(*calls)
    assert good.returncode == 0 and "R(0.1) = 0.41229530564141139697 bits" in good.stdout
    for done, said in [(count, "fair takes 1"), (name, "unknown name 'fare'"), (measure, "choose from hamming")]:
        assert done.returncode == 2 and said in done.stderr
    assert nothing.returncode == 2 and "give a SOURCE and --at D" in nothing.stderr
    assert negative.returncode == 2 and "distortion must be finite and >= 0" in negative.stderr
    assert "Example: rdtheory prove 0.7,0.3 --at 0.1" in page.stdout


def test_without_python_flint_it_says_how_to_get_it():
    code = """
import sys
sys.modules["flint"] = None
import jax; jax.config.update("jax_enable_x64", True)
from rdtheory import *
import rdtheory as rd
try:
    rd.rigor.rate_at([0.5, 0.5], [[0, 1], [1, 0]], 0.1)
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'rdtheory[proofs]'" in done.stdout


def test_importing_the_package_does_not_import_flint():
    code = "import sys, rdtheory, rdtheory.cli; rdtheory.curve; print('flint' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
