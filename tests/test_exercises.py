"""Right answers, derived here by closed forms, are accepted; wrong ones are not, and get a hint."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm

import rdtheory as rd
from rdtheory import exercises

SHEETS = sorted((Path(__file__).parents[1] / "notebooks" / "exercises").glob("*.ipynb"))


def h(p):
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def rounding_gap():
    k = np.arange(-12, 13)
    p = norm.cdf(k + 0.5) - norm.cdf(k - 0.5)
    p = p[p > 0]
    # E X² - 2 Σ k E[X; cell] + Σ k² P, in which E[X; a < X < b] = φ(a) - φ(b)
    D = (
        1
        - 2 * np.sum(k * (norm.pdf(k - 0.5) - norm.pdf(k + 0.5)))
        + np.sum(k**2 * np.diff(norm.cdf(np.arange(-12.5, 13))))
    )
    return -np.sum(p * np.log2(p)) - 0.5 * math.log2(1 / D)


def channel():
    q = (0.3 - 0.1) / (1 - 2 * 0.1)  # P(Y = 1)
    return np.array([[(1 - q) * 0.9 / 0.7, q * 0.1 / 0.7], [(1 - q) * 0.1 / 0.3, q * 0.9 / 0.3]])


def relu():
    cosine = 8 / (3 * math.sqrt(8))
    angle = math.acos(cosine)
    share = (math.sin(angle) + (math.pi - angle) * cosine) / math.pi
    return [3 * share / math.sqrt(8), 4.5 * (1 - share**2)]


def unequal():
    """Along the channels P(1 | 0) = a, P(0 | 1) = b with a/2 + b = 0.2, the least mutual information."""

    def told(a):
        b = 0.2 - a / 2
        return h((1 - b + a) / 2) - (h(a) + h(b)) / 2

    return minimize_scalar(told, bounds=(1e-6, 0.399), method="bounded", options={"xatol": 1e-9}).fun


BITS = {  # answers that are bits throughout
    "coin": h(0.2) - h(0.05),
    "erasure": [1.4, 1.4],
    "critical_slope": math.log2(7 / 3),
    "linear_bounds": [0.5 * math.log2(0.19 / 0.25**2), 0.5 * math.log2(1.9 / 0.4)],
    "quantizer_gap": rounding_gap(),
    "collapse": 1 - h(0.1),
    "unequal_costs": unequal(),
    "shannon_gap": [
        1.487974,
        math.log2(12 / (0.2 * math.pi * math.e)) / 2,
        0.41237,
        math.log2(4 * math.e / math.pi / 2) / 2,
    ],
}
NUMBERS = BITS | {
    "gaussian_distortion": 0.5,
    "two_components": [1.5, 0.5, 0.25],
    "coin_channel": channel(),
    "best_scale": relu(),
    "one_bit": [math.sqrt(2 / math.pi), 1 - 2 / math.pi],
    "wyner_ziv": [h(0.275) - h(0.05), h(0.25) - h(0.05), 0.08802],
}
RESEARCH = ("laplace_quantizer", "pruning_mask", "lower_bound", "bytes_on_disk")


def die(D):
    return math.log2(6) - h(D) - D * math.log2(5) if D < 5 / 6 else 0.0


def check(name, answer):
    return getattr(exercises, name)(answer)


@pytest.mark.fast
@pytest.mark.parametrize("name", [*NUMBERS, "die", *RESEARCH])
def test_no_answer_is_not_answered_yet(name):
    assert check(name, ...) == check(name, None) == (False, "not answered yet")


@pytest.mark.parametrize("name", NUMBERS)
def test_right_numbers_are_right_as_any_kind_of_array(name):
    answer = np.array(NUMBERS[name])
    assert check(name, answer) == check(name, answer.tolist()) == (True, "right")
    assert check(name, answer * (1 + 1e-4)).right


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_off_by_one_percent_are_wrong_and_get_a_hint(name):
    answer = np.array(NUMBERS[name])
    for factor in (1.01, 0.99):
        found = check(name, factor * answer)
        assert not found.right and "Hint: " in found.says and "off by" in found.says
    assert check(name, 1.02 * answer).says == check(name, 0.98 * answer).says  # not which way
    for place in np.ndindex(answer.shape):  # each number counts
        moved = answer.copy()
        moved[place] *= 1.02
        assert check(name, moved).says.startswith("off by 1 to 10 %")


@pytest.mark.parametrize("name", BITS)
def test_nats_are_recognized(name):
    found = check(name, np.array(BITS[name]) * math.log(2))
    assert not found.right and "nats" in found.says and "Hint: " in found.says


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_not_such_numbers_is_wrong_and_gets_a_hint(name):
    answer = np.array(NUMBERS[name])
    for wrong, word in (
        (np.stack([answer, answer]), "shape"),
        (answer * math.nan, "finite"),
        (answer * np.inf, "finite"),
    ):
        found = check(name, wrong)
        assert not found.right and word in found.says and "Hint: " in found.says
    for wrong in ("0.4", "many", {}, die):
        assert not check(name, wrong).right


def test_a_function_is_checked_at_several_points():
    assert exercises.die(die) == (True, "right")
    wrong = {
        "off by": lambda D: die(D) * 1.01,
        "nats": lambda D: die(D) * math.log(2),
        "shape": lambda D: [die(D), D],
        "finite": lambda D: math.nan,
    }
    for word, answer in wrong.items():
        found = exercises.die(answer)
        assert not found.right and word in found.says and "Hint: " in found.says
    assert not exercises.die(lambda D: math.log2(6) - h(D) - D * math.log2(5)).right  # rises beyond 5/6
    assert "function" in exercises.die(1.0).says
    assert "log" not in exercises.die(lambda D: 1.0).says  # the hint is not the answer


def laplace(step, zone):
    """Uniform cells from (½ + zone) steps on, each decoded as its mean, as far from its edge in any."""

    def quantize(x):
        k = np.maximum(0, np.floor(abs(x) / step + 0.5 - zone))
        mean = (k - 0.5 + zone) * step + 1 - step / math.expm1(step)
        return np.where(k > 0, np.sign(x) * mean, 0.0)

    return quantize


def test_a_quantizer_of_the_laplace_density_is_measured():
    found = exercises.laplace_quantizer(laplace(3.0, 0.2))
    assert found.right and "0.09" in found.says
    for wrong, word in (
        (lambda x: 3 * np.round(x / 3), "above R(D). Hint"),
        (laplace(2.0, 0.0), "above R(D). Hint"),
        (laplace(5.0, 0.3), "[0.01, 0.8]"),
        (lambda x: 0.0, "[0.01, 0.8]"),
        (lambda x: x * math.nan, "[0.01, 0.8]"),
        (lambda x: x, "[0.01, 0.8]"),
        (lambda x: x[:2], "shape"),
        (3.0, "function"),
    ):
        found = exercises.laplace_quantizer(wrong)
        assert not found.right and word in found.says


def test_a_mask_is_compared_by_its_true_distortion():
    w, cov = exercises.layer()
    masks = rd.candidates.pruned(w, 5) != 0
    check = rd.relu.optimality(w, rd.candidates.pruned(w, 5), cov, np.ones(2))
    assert exercises.pruning_mask(masks[check.best_index]).right
    assert exercises.pruning_mask(np.asarray(masks[check.best_index], float)).right
    found = exercises.pruning_mask(masks[check.diagonal.index])
    assert not found.right and "1.000 times" in found.says and "Hint: " in found.says
    for wrong in (np.ones((2, 5)), np.ones(10), 0.5 * np.ones((2, 5)), np.full((2, 5), math.nan)):
        assert "five ones" in exercises.pruning_mask(wrong).says


def dual_point():
    point = rd.continuous.rate_at(exercises.mixture(), 0.2)
    y, q, s = (np.asarray(value) for value in (point.points, point.masses, point.slope))
    top, _ = exercises.dual(float(s), lambda x: 1 / (np.exp2(-s * (x[:, None] - y) ** 2) @ q))
    return point, float(s), lambda x: 1 / (np.exp2(-s * (x[:, None] - y) ** 2) @ q) / top


def test_a_dual_point_is_feasible_and_bounds():
    point, slope, multiplier = dual_point()
    top, bound = exercises.dual(slope, multiplier)
    assert top <= 1 + 1e-9 and bound <= point.upper and bound > point.lower - 1e-3
    assert exercises.lower_bound((slope, multiplier)).right
    for wrong, word in (
        ((slope, lambda x: 1.01 * multiplier(x)), "not feasible: c rises to 1.01"),
        ((slope, lambda x: 0.98 * multiplier(x)), "Hint"),
        ((slope, lambda x: -multiplier(x)), "λ > 0"),
        ((slope, lambda x: x * math.nan), "λ > 0"),
        ((-1.0, multiplier), "slope must be > 0"),
        (multiplier, "pair"),
    ):
        found = exercises.lower_bound(wrong)
        assert not found.right and word in found.says


def test_shannons_lower_bound_is_feasible_and_not_enough():
    slope = 0.5 / math.log(2) / 0.2

    def multiplier(x):
        density = (norm.pdf(x, -1, 0.3) + norm.pdf(x, 1, 0.3)) / 2
        return math.sqrt(slope * math.log(2) / math.pi) / density

    top, bound = exercises.dual(slope, multiplier)
    assert 1 - 1e-6 < top < 1 + 1e-6 and bound == pytest.approx(0.42221, abs=1e-4)
    found = exercises.lower_bound((slope, multiplier))
    assert not found.right and "feasible" in found.says and "Hint: " in found.says


def test_bytes_are_decoded():
    w = exercises.weights()
    good = rd.trellis.packed(rd.trellis.quantize(w, rd.trellis.steps(0.049)))
    good = good._replace(step=np.float32(good.step))
    assert exercises.bytes_on_disk(rd.bitstream.encode(good)).right
    scalar = rd.bitstream.encode(rd.scalar.quantize(w, np.float32(0.7)))
    found = exercises.bytes_on_disk(scalar)
    assert not found.right and "Hint: " in found.says
    short = rd.bitstream.encode(rd.scalar.quantize(w[:10], np.float32(0.7)))
    assert "shape (10,)" in exercises.bytes_on_disk(short).says
    assert "cannot be decoded" in exercises.bytes_on_disk(scalar[:-1]).says
    assert "bytes" in exercises.bytes_on_disk(w).says


def test_every_problem_is_on_a_sheet_once():
    cells = [cell for sheet in SHEETS for cell in json.loads(sheet.read_text())["cells"]]
    asked = re.findall(r"exercises\.(\w+)\(answer\)", "\n".join("".join(cell["source"]) for cell in cells))
    assert sorted(asked) == sorted([*NUMBERS, "die", *RESEARCH])


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.stem)
def test_the_solutions_of_a_sheet_are_right(sheet):
    cells = ["".join(cell["source"]) for cell in json.loads(sheet.read_text())["cells"]]
    asked = re.findall(r"exercises\.(\w+)\(answer\)", "\n".join(cells))
    names = {"np": np, "rd": rd, "exercises": exercises}
    for name, code in zip(asked, re.findall(r"```python\n(.*?)```", cells[-1], re.DOTALL), strict=True):
        exec(code, names)
        assert check(name, names["answer"]).right, name
