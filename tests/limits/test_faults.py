"""Problems on which a certificate was once false, or said nothing: each with its right value, computed elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mpmath import mp, mpf
from scipy.optimize import brentq

import rdtheory as rd
from rdtheory.limits.discrete import problem
from rdtheory.limits.discrete.kernels import Matrix
from tests import oracles


def assert_holds(result, value, gap):
    assert result.rate - result.gap <= value <= result.rate
    assert result.gap <= gap


def test_a_channel_whose_entries_underflow():
    x, y = np.arange(-3, 4.0), np.arange(-41, 41.25, 0.5)
    w = np.exp(-((y[None, :] - x[:, None]) ** 2) / 2)
    w /= w.sum(axis=1, keepdims=True)
    found = rd.channel.capacity_at(w, x**2, 0.09)
    p = np.asarray(found.input_pmf)
    assert p @ x**2 <= 0.09
    # What this input attains, and above all of them the capacity of the Gaussian channel at that power.
    assert_holds(found, oracles.mutual_information(p, w), 1e-9)
    assert found.rate <= 0.5 * np.log2(1.09)


def test_a_channel_entry_near_the_smallest_number():
    w = np.array([[1e-307, 1, 0], [0, 1, 0], [0, 0, 1]])
    assert_holds(rd.channel.capacity_at(w, np.array([1.0, 0, 2]), 1.0), 1.0, 1e-9)


def test_a_letter_of_the_bottleneck_of_hardly_any_mass():
    """Without it, by Mrs. Gerber's lemma, R is 1 - h(a) where Y seen through a and the channel has the entropy 0.8."""
    found = rd.bottleneck.rate_at(np.array([[0.4, 0.1], [0.1, 0.4], [3.7e-308, 2.1e-308]]), 0.2)

    def h(x):
        return -x * np.log2(x) - (1 - x) * np.log2(1 - x)

    a = brentq(lambda a: h(0.8 * a + 0.2 * (1 - a)) - 0.8, 1e-6, 0.5, xtol=1e-15)
    assert_holds(found, 1 - h(a), 1e-9)


@pytest.mark.parametrize("above", [0.0, 1e-9, 1e-8, 1e-7, 1e-5])
def test_a_distortion_that_rounding_hides_beside_the_least(above):
    """Two letters, both wrong ones an excess of 1: R is h(.3) - h(excess), the excess of D as it is stored."""
    p, d = np.array([0.3, 0.7]), np.array([[1e8 + 1, 1e8 + 2], [3e7 + 8, 3e7 + 7]])
    D = float(p @ d.min(axis=1)) + above

    def h(x):
        return -(x * mp.log(x, 2) + (1 - x) * mp.log(1 - x, 2)) if x > 0 else mpf(0)

    with mp.workdps(40):
        p0, p1 = mpf(0.3), mpf(0.7)
        excess = mpf(D) - (p0 * mpf(d[0, 0]) + p1 * mpf(d[1, 1])) / (p0 + p1)
        exact = float(h(p0 / (p0 + p1)) - h(max(excess, mpf(0))))
    assert_holds(rd.rate_at(p, d, D), exact, 1e-4)


@pytest.mark.parametrize("D", [1.0, 0.7, 0.36])
def test_a_distortion_beyond_what_a_letter_of_hardly_any_mass_needs(D):
    found = rd.rate_at(np.array([1e-17, 0.65, 0.35]), np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), D)
    assert_holds(found, 0.0, 1e-14)


def test_bits_of_a_letter_that_is_the_best_single_one_and_hardly_ever_the_nearest():
    """Its mass was the difference of ones, and what the channel of least distortion takes was said to be nothing."""
    p = jnp.array([1.0, 1.14026881e-158, 7.61279925e-23])
    d = jnp.array([[0.1156, 0.0521, 1.9879], [0.1396, 0.1206, 0.1292], [0.1528, jnp.inf, jnp.inf]])
    assert problem.make(p, Matrix(d)).most >= p[2] * jnp.log2(1 / p[2])


def test_a_rate_that_only_rare_letters_make():
    p = [0.99999205410216, 6.179648317161283e-9, 1.6733722120399496e-7, 3.0040093344005747e-6, 4.768371636070591e-6]
    d = [[0, 0, 1, 0, 0], [1, 1, 1, 0, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [1, 0, 1, 1, 0]]
    found = rd.rate_at(np.array(p), np.array(d, float), 3.7114118548596347e-9)
    assert_holds(found, 2.6246006703e-8, 1e-9)


@pytest.mark.parametrize(
    "w",
    [
        np.random.default_rng(64).dirichlet(np.ones(64), 64),
        np.array([[0.501, 0.499], [0.499, 0.501], [0.5, 0.5]]),
        np.array([[0.5001, 0.4999], [0.4999, 0.5001]]),
    ],
    ids=["random", "useless", "more useless"],
)
def test_a_capacity_is_found_to_its_own_digits(w):
    found = rd.capacity(w)
    assert found.converged
    assert found.gap <= 1e-9 * min(1.0, found.rate)
    attained = oracles.mutual_information(np.asarray(found.input_pmf), w)
    assert attained >= found.rate - found.gap - 1e-15
    if len(w) == 3:
        np.testing.assert_allclose(found.rate, 1 - oracles.entropy([0.499, 0.501]), rtol=1e-7)


FORBIDDEN = [[0, 1, "M"], [1, 0, "M"], ["M", "M", 0]]


def far_apart(large):
    return np.array([[large if x == "M" else x for x in row] for row in FORBIDDEN], float)


@pytest.mark.parametrize(
    "call",
    [
        lambda p, d: rd.rate_at(p, d, 0.05),
        lambda p, d: rd.side_information.conditional_rate_at(p[:, None], d, 0.05),
        lambda p, d: rd.perception.rate_at(p, d, 0.05, 0.1),
        lambda p, d: rd.channel.capacity_at(np.eye(3), d[0], 0.5),
    ],
)
def test_entries_beside_which_others_vanish_are_refused(as_user, call):
    """With the greatest float for "forbidden", 1 was no distortion at all, and the rate .722 for 1.252."""
    with pytest.raises(ValueError, match="too far apart; write inf for what is forbidden"):
        call(np.array([0.4, 0.4, 0.2]), far_apart(np.finfo(float).max))
    assert call(np.array([0.4, 0.4, 0.2]), far_apart(1e250)).rate > 0


@pytest.mark.parametrize("large", [1e250, np.finfo(float).max])
def test_the_kernel_charges_for_what_vanishes_beside_the_largest(large):
    p, d, zero = jnp.array([0.4, 0.4, 0.2]), jnp.asarray(far_apart(large)), jnp.zeros(3)
    best = rd.rate_at(p, jnp.asarray(far_apart(np.inf)), 0.05)
    channel, D, one = jnp.full((3, 3), 1.0), jnp.asarray(0.05), jnp.ones(())
    found = [
        jax.jit(rd.certify.rate_distortion)(p, d, D, one * jnp.ones(3), one),
        jax.jit(rd.certify.conditional)(p[:, None], d, D, channel[None], zero[None], one),
        jax.jit(rd.certify.total_variation)(p, d, D, one, channel, zero, one, zero),
        jax.jit(rd.certify.divergence)(p, d, D, one, channel, zero, one, zero, one),
        jax.jit(rd.certify.classification)(p, d, D, d, D, channel, zero, one, one),
    ]
    for certificate in found:
        assert certificate.lower <= best.rate
        assert certificate.upper >= best.rate - best.gap


@pytest.mark.parametrize("size", [1e308, 5e-324])
def test_weights_that_cannot_be_divided_by_make_no_channel_of_zeros(size):
    p, zero = jnp.full(2, 0.5), jnp.zeros(2)
    exact = 1 - oracles.entropy([0.1, 0.9])
    weights = jnp.full((2, 2), size)
    found = jax.jit(rd.certify.conditional)(
        p[:, None], 1 - jnp.eye(2), jnp.asarray(0.1), weights[None], zero[None], jnp.ones(())
    )
    assert found.lower <= exact <= found.upper


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_samples_are_solved_in_any_unit(scale):
    rng = np.random.default_rng(0)
    x, y, p = rng.normal(size=(60, 2)), rng.normal(size=(12, 2)), np.full(60, 1 / 60)
    plain = rd.rate_at(p, rd.distortion.samples(x, y), 0.7, tol=1e-9)
    found = rd.rate_at(p, rd.distortion.samples(scale * x, scale * y), 0.7 * scale**2, tol=1e-9)
    assert max(plain.rate - plain.gap, found.rate - found.gap) <= min(plain.rate, found.rate)
    assert max(plain.gap, found.gap) <= 1e-9


@pytest.mark.parametrize("scale", [1e-160, 1e160])
def test_samples_whose_squares_are_lost_are_refused(as_user, scale):
    x = scale * np.random.default_rng(0).normal(size=(6, 2))
    with pytest.raises(ValueError, match="the square is lost; measure both in another unit"):
        rd.distortion.samples(x, x[:3])


def test_steep_slopes_with_a_least_distortion_of_one():
    """What rounding may hide of D beside D_min = 1 is more than a steep slope leaves to be spent."""
    p, d = np.full(3, 1 / 3), 1 + np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    points = rd.curve(p, d, np.array([10.0, 30.0, 60.0, 100.0, 1000.0, np.inf]))
    assert (points.gap <= 1e-10).all()
    np.testing.assert_allclose(points.rate[2:], np.log2(3) - 1, rtol=0, atol=1e-10)  # R(D_min)
    assert rd.blahut_arimoto(p, d, 60.0).converged
    assert rd.distortion_at(p, d, np.log2(3) - 1).converged


@pytest.fixture
def optimized():
    """Compiled as for users."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_rate_below_all_rounding_is_not_above_the_entropy(optimized, share):
    """Compiled twice, a digit apart, a bound and its gap left 2e-16 between them of a rate below 1e-24."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 2)), rng.normal(size=(7, 2))
    p = 10.0 ** rng.uniform(-60, -25, 10)
    p[0] = 1.0
    d = ((x[:, None] - y) ** 2).sum(axis=2)
    least, free = p @ d.min(axis=1), (p @ d).min()
    found = rd.rate_at(p, rd.distortion.samples(x, y), least + share * (free - least), tol=1e-9)
    assert found.rate - found.gap <= -p[1:] @ np.log2(p[1:])


def test_excesses_whose_means_vanish_cost_what_nothing_does():
    """Of 1e-300 times a mass of 1e-8 nothing is left, and the rate was zero for 5.5e-6."""
    p, d, e = np.array([1 - 1e-6, *np.full(100, 1e-8)]), np.zeros((101, 101)), 1e-300
    d[1:, :100], d[:, 100] = 1 - np.eye(100), 1.0
    plain = rd.rate_at(p, d, 0.99e-7)
    d[1:, :100] *= e
    found = rd.rate_at(p, d, 0.99e-7 * e)
    assert found.rate >= plain.rate - plain.gap
    assert found.rate - found.gap <= plain.rate
    uniform = jnp.asarray(np.append(np.full(100, 0.01), 0.0))
    found = jax.jit(rd.certify.rate_distortion)(*map(jnp.asarray, (p, d, 0.99e-7 * e)), uniform, jnp.asarray(1 / e))
    assert found.lower <= plain.rate and found.upper >= plain.rate - plain.gap
