import math

import numpy as np
import pytest

from rdtheory.verify.report import verdict
from rdtheory.verify.rows import agree, at_most, estimate


def test_a_nan_never_holds():
    assert not agree("", "", math.nan, 1.0, math.inf).holds
    assert not agree("", "", 1.0, math.nan, math.inf).holds
    assert not agree("", "", 1.0, 1.0 + 1e-9, math.nan).holds
    assert not at_most("", "", math.nan, 1.0, 1.0).holds
    assert not at_most("", "", 0.0, math.nan, 1.0).holds


def test_equal_infinities_agree_and_unequal_ones_do_not():
    assert agree("", "", math.inf, math.inf, 0.0).holds
    assert not agree("", "", math.inf, -math.inf, 1e9).holds
    assert at_most("", "", -math.inf, 3.0).holds


def test_a_failure_says_by_how_much():
    assert verdict(agree("", "", 1.0, 1.75, 0.25)) == "FAILS by 0.5"
    assert verdict(at_most("", "", 3.0, 1.0, 0.5)) == "FAILS by 1.5"


def test_estimate_is_five_standard_errors_of_the_mean():
    samples = np.random.default_rng(0).normal(2.0, 3.0, size=10_000)
    mean, bar = estimate(samples)
    assert bar == pytest.approx(5 * 3.0 / 100, rel=0.05)
    assert abs(mean - 2.0) < bar
