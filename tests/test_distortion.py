import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdtheory import distortion
from tests.transforms import assert_transforms_agree

SOURCE, REPRODUCTION = np.array([-1.0, 0.0, 2.5]), np.array([-1.0, 0.5, 1.0, 3.0])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_hamming_counts_errors(n):
    np.testing.assert_array_equal(distortion.hamming(n), [[float(x != y) for y in range(n)] for x in range(n)])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_erasure_forbids_errors_and_charges_one_for_silence(n):
    wanted = [[0.0 if x == y else 1.0 if y == n else np.inf for y in range(n + 1)] for x in range(n)]
    np.testing.assert_array_equal(distortion.erasure(n), wanted)


@pytest.mark.parametrize(
    ("measure", "error"), [("squared_error", lambda x, y: (x - y) ** 2), ("absolute_error", lambda x, y: abs(x - y))]
)
def test_differences_are_taken_letter_by_letter(measure, error):
    function = getattr(distortion, measure)
    wanted = [[error(x, y) for y in REPRODUCTION] for x in SOURCE]
    np.testing.assert_array_equal(function(SOURCE, REPRODUCTION), wanted)
    assert_transforms_agree(function, np.stack([SOURCE, 2 * SOURCE]), np.stack([REPRODUCTION, -REPRODUCTION]))


def test_hamming_and_erasure_are_constants_under_jit():
    np.testing.assert_array_equal(jax.jit(lambda: distortion.hamming(3))(), distortion.hamming(3))
    np.testing.assert_array_equal(jax.jit(lambda: distortion.erasure(3))(), distortion.erasure(3))


def test_squared_error_has_its_derivative():
    gradient = jax.grad(lambda y: distortion.squared_error(jnp.asarray(SOURCE), y).sum())(jnp.asarray(REPRODUCTION))
    np.testing.assert_allclose(gradient, [2 * sum(y - x for x in SOURCE) for y in REPRODUCTION], rtol=1e-14)


@pytest.mark.parametrize("measure", [distortion.hamming, distortion.erasure])
@pytest.mark.parametrize("letters", [0, -1, 2.0, "two", None])
def test_a_count_of_letters_is_a_positive_whole_number(as_user, measure, letters):
    with pytest.raises(ValueError, match="letters must be a whole number, at least 1"):
        measure(letters)


@pytest.mark.parametrize("measure", [distortion.squared_error, distortion.absolute_error])
@pytest.mark.parametrize(
    ("source", "reproduction", "error", "message"),
    [
        ([[1.0]], [1.0], ValueError, "source must be a vector"),
        ([1.0], 1.0, ValueError, "reproduction must be a vector"),
        ([], [1.0], ValueError, "source must not be empty"),
        (np.array([1j]), [1.0], TypeError, "source must hold real numbers"),
        ([1.0], "one", TypeError, "reproduction"),
    ],
)
def test_what_is_wrong_is_named(as_user, measure, source, reproduction, error, message):
    with pytest.raises(error, match=message):
        measure(source, reproduction)
