"""Derivatives of the Lagrangian, of R(D) and of D(R): against closed forms and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdtheory as rd
from tests.problems import INF, REFUSAL, entropy, erasure_matrix, hamming, refusal_slope
from tests.transforms import assert_close

CLOSE = {"rtol": 0, "atol": 1e-7}  # gap 1e-9, so q to about its root where q matters at first order only to second
MODES = pytest.mark.parametrize(
    "derivative", [jax.grad, pytest.param(jax.jacfwd, marks=pytest.mark.long)], ids=["reverse", "forward"]
)
random = np.random.default_rng(42)
PMF = random.dirichlet(np.ones(5))
MATRIX = random.uniform(0.1, 2, (5, 7))
FUNCTIONS = {
    "lagrangian": (lambda p, d, s: rd.discrete.lagrangian(p, d, s, tol=1e-12).value, 3.0),
    "rate_at": (lambda p, d, D: rd.rate_at(p, d, D, tol=1e-12).rate, 0.4),
    "distortion_at": (lambda p, d, rate: rd.distortion_at(p, d, rate, tol=1e-12).distortion, 0.7),
}
EVERY = (0, 1, 2)  # arguments
every_function = pytest.mark.parametrize("name", FUNCTIONS)


def difference(function, step=1e-4):
    """Central difference of fourth order: error step⁴ times a fifth derivative, and 1e-12 / step."""
    f = [float(function(k * step)) for k in (-2, -1, 1, 2)]
    return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)


def tilt(p, direction):
    """Away from p within the probability mass functions."""
    return lambda t: p + t * (direction - p)


# Against finite differences -------------------------------------------------------------------------------------------


@MODES
@every_function
def test_each_derivative_is_the_finite_difference(name, derivative):
    function, at = FUNCTIONS[name]
    in_p, in_d, in_target = derivative(function, argnums=EVERY)(PMF, MATRIX, at)
    np.testing.assert_allclose(in_target, difference(lambda t: function(PMF, MATRIX, at + t)), **CLOSE)
    direction = np.random.default_rng(1).dirichlet(np.ones(5))
    numeric = difference(lambda t: function(tilt(PMF, direction)(t), MATRIX, at))
    np.testing.assert_allclose(in_p @ (direction - PMF), numeric, **CLOSE)
    bump = np.random.default_rng(2).uniform(-1, 1, MATRIX.shape) * 0.1
    numeric = difference(lambda t: function(PMF, MATRIX + t * bump, at))
    np.testing.assert_allclose(np.sum(np.asarray(in_d) * bump), numeric, **CLOSE)


@every_function
def test_each_derivative_of_a_gaussian_like_grid_is_the_finite_difference(name):
    x = np.linspace(-3, 3, 25)
    p = np.exp(-(x**2) / 2) / np.exp(-(x**2) / 2).sum()
    function, at = FUNCTIONS[name]

    def rescaled(log_scale):
        return function(p, (x[:, None] - x) ** 2 * jnp.exp(log_scale), at)

    np.testing.assert_allclose(jax.grad(rescaled)(0.0), difference(rescaled), **CLOSE)
    towards = np.exp(-abs(x)) / np.exp(-abs(x)).sum()

    def tilted(t):
        return function(p + t * (towards - p), (x[:, None] - x) ** 2, at)

    np.testing.assert_allclose(jax.grad(tilted)(0.0), difference(tilted), **CLOSE)


@pytest.mark.long
@every_function
def test_jit_and_vmap_of_the_gradient_change_nothing(name):
    function, at = FUNCTIONS[name]
    gradient = jax.grad(function, argnums=(0, 1, 2))
    targets = jnp.array([0.9, 1.0, 1.1]) * at
    loop = [gradient(PMF, MATRIX, target) for target in targets]
    loop = jax.tree.map(lambda *leaves: jnp.stack(leaves), *loop)
    # To the accuracy of q: a batch may take one step more.
    each = jax.jit(jax.vmap(gradient, in_axes=(None, None, 0)))(PMF, MATRIX, targets)
    assert_close(each, loop, rtol=0, atol=1e-6)
    assert_close(jax.jit(gradient)(PMF, MATRIX, targets[0]), jax.tree.map(lambda x: x[0], loop), rtol=0, atol=1e-6)


# Against closed forms -------------------------------------------------------------------------------------------------


@MODES
@pytest.mark.parametrize(("p", "D"), [(0.5, 0.11), (0.3, 0.1), (0.2, 0.19), (0.4, 1e-3)])
def test_the_coin(p, D, derivative):
    def rate(p, D):
        return rd.rate_at(jnp.stack([1 - p, p]), hamming(2), D).rate  # h(p) - h(D)

    np.testing.assert_allclose(derivative(rate, argnums=1)(p, D), -np.log2((1 - D) / D), **CLOSE)
    np.testing.assert_allclose(derivative(rate, argnums=0)(p, D), np.log2((1 - p) / p), **CLOSE)
    R = entropy([p, 1 - p]) - entropy([D, 1 - D])

    def distortion(p, rate):
        return rd.distortion_at(jnp.stack([1 - p, p]), hamming(2), rate).distortion

    s = np.log2((1 - D) / D)
    np.testing.assert_allclose(derivative(distortion, argnums=1)(p, R), -1 / s, **CLOSE)
    np.testing.assert_allclose(derivative(distortion, argnums=0)(p, R), np.log2((1 - p) / p) / s, **CLOSE)


@MODES
def test_the_coin_in_its_distortion_matrix(derivative):
    """The optimal joint distribution: p(0) Q(1|0) and p(1) Q(0|1) are (D/(1-2D)) times what is left."""
    p, D = 0.3, 0.1
    s, q = np.log2((1 - D) / D), (p - D) / (1 - 2 * D)
    joint = np.array([[(1 - q) * (1 - D), q * D], [(1 - q) * D, q * (1 - D)]])
    in_d = derivative(lambda d: rd.rate_at(jnp.array([1 - p, p]), d, D).rate)(jnp.asarray(hamming(2)))
    np.testing.assert_allclose(in_d, s * joint, **CLOSE)
    in_d = derivative(lambda d: rd.discrete.lagrangian(jnp.array([1 - p, p]), d, s).value)(jnp.asarray(hamming(2)))
    np.testing.assert_allclose(in_d, s * joint, **CLOSE)


@MODES
def test_erasure_where_letters_are_forbidden(derivative):
    """R(D) = (1 - D) log n for a fair die: no NaN from 0 · inf; a forbidden letter's price has no influence."""
    p, d, D = np.full(3, 1 / 3), erasure_matrix(3), 0.4
    for name, at, weight, in_target in [
        ("rate_at", D, np.log2(3), -np.log2(3)),
        ("distortion_at", (1 - D) * np.log2(3), 1.0, -1 / np.log2(3)),
    ]:
        function = FUNCTIONS[name][0]
        found = [np.asarray(part) for part in derivative(function, argnums=EVERY)(p, d, at)]
        np.testing.assert_allclose(found[2], in_target, **CLOSE)
        channel = np.column_stack([np.eye(3) * (1 - D), np.full(3, D)])
        # At the end of a straight piece the probe of q is not needed: D fixes the share of erasures.
        np.testing.assert_allclose(found[1], weight * channel / 3, **CLOSE)
        assert np.isfinite(found[0]).all()
        np.testing.assert_allclose(found[0] - found[0].mean(), 0, **CLOSE)  # the letters are alike


@MODES
@every_function
def test_a_letter_of_mass_zero_has_the_one_sided_derivative_and_no_influence(name, derivative):
    """Also one that no reproduction fits; there R jumps, so its own derivative is infinite, and nothing is NaN."""
    function, at = FUNCTIONS[name]
    row = np.linspace(0.2, 1.4, 7)
    p, d = np.append(PMF, 0.0), np.vstack([MATRIX, row])
    in_p, in_d, in_target = (np.asarray(part) for part in derivative(function, argnums=EVERY)(p, d, at))
    without = derivative(function, argnums=EVERY)(PMF, MATRIX, at)
    np.testing.assert_array_equal(in_d[-1], 0)
    np.testing.assert_allclose(in_target, without[2], **CLOSE)
    towards = np.append(np.zeros(5), 1.0) - p
    steps = np.array([1e-4, 2e-4])
    one, two = ((float(function(p + t * towards, d, at)) - float(function(p, d, at))) / t for t in steps)
    np.testing.assert_allclose(in_p @ towards, 2 * one - two, rtol=0, atol=1e-5)  # step² and 1e-12 / step
    forbidden = d.copy()
    forbidden[-1] = INF
    for part in derivative(function, argnums=EVERY)(p, forbidden, at):
        assert not np.isnan(part).any()
    # Within the sources that avoid the letter.
    change = np.append(np.array([1, -1, 0, 0, 0.0]), 0.0)
    _, along = jax.jvp(lambda p: function(p, jnp.asarray(forbidden), at), (jnp.asarray(p),), (jnp.asarray(change),))
    expected = np.asarray(without[0])
    np.testing.assert_allclose(along, expected[0] - expected[1], **CLOSE)


@MODES
def test_at_zero_rate_nothing_changes_the_rate_and_d_max_is_the_best_letter(derivative):
    for D in (1.5, 3.0):
        for part in derivative(FUNCTIONS["rate_at"][0], argnums=EVERY)(PMF, MATRIX, D):
            np.testing.assert_array_equal(part, 0)
    best = np.argmin(PMF @ MATRIX)
    at_zero = derivative(FUNCTIONS["distortion_at"][0], argnums=(0, 1))(PMF, MATRIX, 0.0)
    # A pmf is normalized, so a gradient in it is orthogonal to it.
    np.testing.assert_allclose(at_zero[0], MATRIX[:, best] - PMF @ MATRIX[:, best], rtol=0, atol=1e-12)
    np.testing.assert_allclose(at_zero[1], PMF[:, None] * (np.arange(7) == best), rtol=1e-12)
    at_zero = derivative(FUNCTIONS["lagrangian"][0], argnums=EVERY)(PMF, MATRIX, 0.0)
    np.testing.assert_array_equal(at_zero[0], 0)
    np.testing.assert_array_equal(at_zero[1], 0)
    # From the right: at slope zero the rate is zero, and the least distortion of that is D_max.
    np.testing.assert_allclose(at_zero[2], (PMF @ MATRIX)[best], rtol=1e-12)


@MODES
def test_inside_a_straight_piece_the_derivative_is_minus_its_slope(derivative):
    p, d, s = REFUSAL.source_pmf, REFUSAL.distortion_matrix, refusal_slope(0.2)
    segment = rd.rate_at(p, d, 0.15).segment
    for share in (0.2, 0.5, 0.8):
        D = float(segment[0] + share * (segment[1] - segment[0]))
        np.testing.assert_allclose(derivative(lambda D: rd.rate_at(p, d, D).rate)(D), -s, **CLOSE)
        rate = REFUSAL.exact(D)
        np.testing.assert_allclose(derivative(lambda R: rd.distortion_at(p, d, R).distortion)(rate), -1 / s, **CLOSE)
        # The refusal's price moves R by s times the mass that is refused; D says how much that is.
        in_price = derivative(lambda price, D=D: rd.rate_at(p, jnp.asarray(d).at[:, 2].set(price), D, tol=1e-12).rate)(
            0.2
        )
        touch = 1 / (1 + 2**s)  # where the coin's own slope is s
        refused = (D - touch) / (0.2 - touch)
        np.testing.assert_allclose(in_price, s * refused, rtol=0, atol=1e-6)


def test_an_invalid_argument_has_no_derivative():
    gradient = jax.jit(jax.vmap(jax.grad(FUNCTIONS["rate_at"][0], argnums=2), in_axes=(None, None, 0)))
    found = gradient(PMF, MATRIX, jnp.array([0.4, -1.0, jnp.nan]))
    assert np.isfinite(found[0])
    np.testing.assert_allclose(found[0], jax.grad(FUNCTIONS["rate_at"][0], argnums=2)(PMF, MATRIX, 0.4), **CLOSE)


@pytest.mark.parametrize("function", [rd.rate_at, rd.distortion_at, rd.discrete.lagrangian])
def test_a_second_derivative_is_refused_and_not_zero(function):
    p, d = np.array([0.7, 0.3]), 1 - np.eye(2)
    first = jax.grad(lambda x: function(p, d, x)[0 if function is not rd.distortion_at else 1])
    assert np.isfinite(first(0.2))
    for second in (jax.grad(first), jax.jacfwd(first)):
        with pytest.raises(TypeError, match="first derivatives only"):
            second(0.2)
    with pytest.raises(TypeError, match="first derivatives only"):
        jax.jacfwd(lambda p: jax.grad(lambda x: function(p, d, x)[0 if function is not rd.distortion_at else 1])(0.2))(
            p
        )


@pytest.mark.parametrize(
    "field",
    [
        lambda p, d, x: rd.rate_at(p, d, x).slope,
        lambda p, d, x: rd.rate_at(p, d, x).reproduction_pmf[0],
        lambda p, d, x: rd.distortion_at(p, d, x).rate,
        lambda p, d, x: rd.interior_point(p, d, x).rate,
        lambda p, d, x: rd.blahut_arimoto(p, d, x).distortion,
        lambda p, d, x: rd.curve(p, d, x[None]).rate[0],
    ],
)
def test_what_has_no_derivative_says_so(field):
    p, d, x = np.array([0.7, 0.3]), 1 - np.eye(2), jnp.asarray(0.2)
    says = "no derivative is defined here: differentiate the rate of rate_at"
    with pytest.raises(TypeError, match=says):
        jax.grad(field, argnums=2)(p, d, x)
    with pytest.raises(TypeError, match=says):  # when it is traced: the function itself need not be compiled for that
        jax.eval_shape(jax.grad(jax.jit(field), argnums=2), p, d, x)
    assert np.isnan(jax.jacfwd(field, argnums=2)(p, d, x))


def test_what_has_no_derivative_takes_arrays_of_numpy_under_vmap():
    p, d, slopes = np.array([[0.7, 0.3], [0.6, 0.4]]), 1 - np.eye(2), np.array([0.7, 2.0])
    batch = jax.vmap(lambda p: rd.curve(p, d, slopes).rate)(p)
    np.testing.assert_allclose(batch[1], rd.curve(p[1], d, slopes).rate, rtol=0, atol=1e-9)
    batch = jax.vmap(lambda s: rd.blahut_arimoto(p[0], d, s, max_steps=5).rate)(slopes)
    np.testing.assert_allclose(batch[0], rd.blahut_arimoto(p[0], d, 0.7, max_steps=5).rate, rtol=0, atol=1e-12)
