import math
import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from rdtheory import _lanes


def where(task):
    return task, os.getpid()


def die_elsewhere(task):
    if multiprocessing.parent_process() is not None:
        os._exit(3)
    time.sleep(2)


def half(task):
    if multiprocessing.parent_process() is None:
        time.sleep(0.5)  # so that the other process takes the group that is left
    return math.sqrt(task)


def test_a_group_stays_in_one_process_and_others_take_part():
    groups = [[1, 2, 3], [4, 5], [6]]
    found = dict(_lanes.results(where, groups, 3))
    assert sorted(found) == [1, 2, 3, 4, 5, 6]
    assert all(len({found[task] for task in group}) == 1 for group in groups)
    assert set(dict(_lanes.results(where, groups)).values()) == {os.getpid()}


FORKED = """
import multiprocessing, sys, time
import jax
from rdtheory import _lanes

def had(task):
    elsewhere = multiprocessing.parent_process() is not None
    time.sleep(0 if elsewhere else 0.5)
    return elsewhere, "scipy" in sys.modules

import scipy
print(sorted(_lanes.results(had, [[1], [2]], 2, "fork")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a fork is not safe")
def test_a_fork_has_what_was_imported_and_warns_of_nothing():
    found = subprocess.run([sys.executable, "-W", "error", "-c", FORKED], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("[(False, True), (True, True)]\n", "")


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_of_a_task_is_raised_where_its_result_is_waited_for(processes):
    with pytest.raises(ValueError, match="math domain error"):
        list(_lanes.results(half, [[4.0], [-1.0]], processes))


def test_a_process_that_dies_is_told_and_none_is_left():
    with pytest.raises(RuntimeError, match="exit status 3"):
        list(_lanes.results(die_elsewhere, [[1], [2]], 2))
    assert not multiprocessing.active_children()


def test_who_stops_asking_stops_the_work():
    found = _lanes.results(half, [[1.0, 4.0], [9.0] * 100], 2)
    next(found)
    found.close()
    assert not multiprocessing.active_children()
