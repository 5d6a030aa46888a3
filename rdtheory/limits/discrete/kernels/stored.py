"""The excess distortion of some letters, stored, and its kernel. notation: see `problem`."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_solve

from rdtheory.limits import _cholesky
from rdtheory.limits.discrete.arithmetic import finite_or_zero, scaled_kernel

TINY = 2.0**-900  # of z; so p / z times what is flushed is next to nothing
SMALL = 2**12  # entries; the product of more takes XLA two or three times as long if its first factor is transposed
NEGLIGIBLE = 1e-17  # beside a diagonal of ones: kept out, or denormal numbers make a step a hundred times slower


class Facts(NamedTuple):
    """What `problem.make` asks of a distortion."""

    floor: Array  # min_y d, of each source letter; zero where it has no mass
    largest: Array  # excess distortion
    smallest: Array  # that is not zero; infinite if all are
    spent: Array  # mean excess distortion of the best single letter; infinite if each is forbidden to some letter
    best: Array  # that letter
    nearest: Array  # whether no other is nearer to any source letter
    usable: Array  # reproduction letters that some source letter of positive mass may use
    most: Array  # bits that some channel of least distortion gets by with


@runtime_checkable  # which beartype asks for
class Scaled(Protocol):
    """The part of a problem that turns distortion into excess distortion in good units."""

    @property
    def p(self) -> Array: ...
    @property
    def floor(self) -> Array: ...
    @property
    def unit(self) -> Array: ...
    @property
    def threads(self) -> tuple[()] | None: ...


class Table(NamedTuple):
    """2^(-s excess) of some letters, and that times the excess."""

    values: Array
    costs: Array
    threads: tuple[()] | None = None  # of LAPACK: see `_cholesky`

    def times(self, q: Array) -> Array:
        return self.values @ q

    def transposed(self, weights: Array) -> Array:
        return weights @ self.values

    def inverse(self, weights: Array, root: Array, ridge: Array) -> Callable[[Array], Array]:
        """(I + BᵀB)⁻¹ with B = diag(weights)^½ K diag(root), factored as the smaller of that and I + BBᵀ."""
        n, m = self.values.shape
        if m <= n and n * m > SMALL:
            return inverse_of(_gram(root[:, None] * self.values.T * jnp.sqrt(weights)[None, :]), ridge, self.threads)
        scaled = jnp.sqrt(weights)[:, None] * self.values * root[None, :]
        if m <= n:
            return inverse_of(scaled.T @ scaled, ridge, self.threads)
        inner = inverse_of(_gram(scaled), ridge, self.threads)

        def woodbury(b: Array) -> Array:
            return b - inner(scaled @ b) @ scaled

        def outer(b: Array) -> Array:
            x = woodbury(b)
            return x + woodbury(b - x - (scaled @ x) @ scaled)  # once more on what rounding left

        return outer

    def sums(self, q: Array) -> tuple[Array, Array]:
        """Σ_y q K and Σ_y q K excess, for every x."""
        return self.values @ q, self.costs @ q

    def powers(self, q: Array) -> tuple[Array, Array, Array]:
        """Those and Σ_y q K excess²."""
        excess = self.costs / jnp.where(self.values > 0, self.values, 1.0)
        return *self.sums(q), (self.costs * excess) @ q


class Stored(NamedTuple):
    """Excess distortion of some letters."""

    excess: Array  # (n, k)
    threads: tuple[()] | None = None

    def at(self, s: Array) -> Table:
        kernel = scaled_kernel(self.excess, s)
        return Table(kernel, finite_or_zero(self.excess * kernel), self.threads)

    def moments(self, q: Array, s: Array) -> tuple[Array, Array, Array]:
        """Z, mean and variance of the excess given each source letter; where z is lost the others mean nothing."""
        kernel = scaled_kernel(self.excess, s)
        z = kernel @ q
        posterior = (kernel * q[None, :]) / kept(z)[:, None]
        mean = jnp.sum(finite_or_zero(self.excess * posterior), axis=1)
        variance = jnp.sum(finite_or_zero((self.excess - mean[:, None]) ** 2 * posterior), axis=1)
        return z, mean, variance


def kept(z: Array) -> Array:
    """Z where it is a number to divide by."""
    return jnp.where(z >= TINY, z, TINY)


def moments_from(z: Array, first: Array, second: Array) -> tuple[Array, Array, Array]:
    """Z, mean and variance from Σ q K, Σ q K e and Σ q K e²."""
    mean = first / kept(z)
    return z, mean, jnp.maximum(second / kept(z) - mean**2, 0.0)


def log_letters(p: Array, usable: Array) -> Array:
    """Bits that any channel gets by with."""
    letters = jnp.minimum(jnp.sum(p > 0), jnp.sum(usable)).astype(p.dtype)
    return jnp.log2(letters) * (1 + 4 * jnp.finfo(p.dtype).eps)


def _gram(x: Array) -> Array:
    """XXᵀ on and below the diagonal, which is all that a Cholesky factor is made of; above, as it comes."""
    half = len(x) // 2
    first = x[:half] @ x[:half].T
    return jnp.concatenate([jnp.pad(first, ((0, 0), (0, len(x) - half))), x[half:] @ x.T])


def inverse_of(gram: Array, ridge: Array, threads: tuple[()] | None) -> Callable[[Array], Array]:
    """(I + gram)⁻¹ by a Cholesky factor, equilibrated; of `gram` the lower triangle is read."""
    identity = jnp.eye(len(gram))
    scale = 1 / jnp.sqrt(1 + jnp.diag(gram))
    equilibrated = scale[:, None] * (gram + identity) * scale[None, :] + ridge * identity
    kept = jnp.where(jnp.abs(equilibrated) > NEGLIGIBLE, equilibrated, 0.0)
    factor = _cholesky.factor(kept, threads)
    return lambda b: scale * cho_solve((factor, True), scale * b)


def peaks(c: Array, count: int) -> tuple[Array, Array]:
    """The letter of largest c in each of at most so many stretches of the alphabet, and that c."""
    width = max(1, -(-len(c) // count))
    stretches = -(-len(c) // width)
    padded = jnp.pad(c, (0, stretches * width - len(c)), constant_values=-1).reshape(stretches, width)
    letters = jnp.argmax(padded, axis=1) + width * jnp.arange(stretches)
    return letters, jnp.max(padded, axis=1)


def spread(m: int, size: int) -> tuple[Array, Array]:
    """Half as many letters as there are slots, evenly over the alphabet, and the mass of each slot."""
    return (jnp.arange(size) * m) // (size // 2) % m, (jnp.arange(size) < size // 2) / size
