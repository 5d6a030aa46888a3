"""The Kronecker product nearest to each leaf's block of the importance, without ever forming the block.

notation: G (a, b) is the gradient of one example and direction with respect to one leaf, so the block is
M = E Σ vec(G) vec(G)ᵀ in row-major order. Rearranged so that A ⊗ B has rank one (Van Loan & Pitsianis 1993), M becomes
a matrix whose power iteration is A ← E Σ G B Gᵀ / ‖B‖², B ← E Σ Gᵀ A G / ‖A‖²; both stay positive semidefinite.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from rdtheory.models._gradients import compiled, stream

PROBES = 16


def sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a leaf as a matrix: the last axis is the output, a vector is one row."""
    return (1, math.prod(shape)) if len(shape) < 2 else (math.prod(shape[:-1]), shape[-1])


def product(g: Array, inner: Array, shares: Array) -> Array:
    """Σ_s share_s G_s inner G_sᵀ, G (s, a, b).

    The gradient of a dense layer is an outer product, for which this costs a² + b² for each example and not
    a² b + a b²; whether all of a batch are is found out, to rounding.
    """
    u, v, outer = vectors(g)

    def of_vectors() -> Array:
        return ((shares * jnp.sum((v @ inner) * v, axis=1))[:, None] * u).T @ u

    def of_matrices() -> Array:
        rows = jnp.moveaxis(g, 1, 0).reshape(g.shape[1], -1)
        return jnp.moveaxis(shares[:, None, None] * (g @ inner), 1, 0).reshape(rows.shape) @ rows.T

    return lax.cond(outer, of_vectors, of_matrices)


def vectors(g: Array) -> tuple[Array, Array, Array]:
    """Vectors u_s, v_s whose outer product is G_s, and whether it is for all s, to rounding: v is the largest row."""
    row = jnp.argmax(jnp.sum(g * g, axis=2), axis=1)
    v = jnp.take_along_axis(g, row[:, None, None], axis=1)[:, 0]
    power = jnp.sum(v * v, axis=1)
    u = jnp.einsum("sab,sb->sa", g, v) / jnp.where(power > 0, power, 1.0)[:, None]
    lost = jnp.sum((g - u[:, :, None] * v[:, None, :]) ** 2, axis=(1, 2))
    return u, v, jnp.all(lost <= (64 * jnp.finfo(g.dtype).eps) ** 2 * jnp.sum(g * g, axis=(1, 2)))


@compiled
def nearest(apply: Callable, kind: str, batch_size: int, sweeps: Array, data) -> list[tuple[Array, Array]]:
    """(A, B) of each leaf, A scaled to a mean diagonal of 1."""
    shapes = [sides(leaf.shape) for leaf in jax.tree.leaves(data[0])]

    def matrices(gradients) -> list[Array]:
        return [g.reshape(-1, *shape) for g, shape in zip(jax.tree.leaves(gradients), shapes, strict=True)]

    def half(inners: list[Array], transpose: bool) -> list[Array]:
        def add(totals: list[Array], gradients, shares: Array) -> list[Array]:
            gs = [jnp.swapaxes(g, 1, 2) if transpose else g for g in matrices(gradients)]
            return [t + product(g, inner, shares) for t, g, inner in zip(totals, gs, inners, strict=True)]

        zeros = [jnp.zeros((shape[transpose],) * 2) for shape in shapes]
        totals = stream(add, zeros, apply, kind, batch_size, data)
        powers = [jnp.sum(inner * inner) for inner in inners]
        return [(t + t.T) / 2 / jnp.where(power > 0, power, 1.0) for t, power in zip(totals, powers, strict=True)]

    def sweep(_, factors):
        a = [_unit(x) for x in half(factors[1], False)]
        return a, half(a, True)

    first = [jnp.eye(a) for a, _ in shapes], [jnp.eye(b) for _, b in shapes]
    return list(zip(*lax.fori_loop(0, sweeps, sweep, first), strict=True))


@compiled
def residuals(apply: Callable, kind: str, batch_size: int, key: Array, factors, data) -> list[Array]:
    """‖M - A ⊗ B‖ / ‖M‖ of each leaf in the Frobenius norm, estimated: E‖R z‖² = ‖R‖² for random signs z."""
    shapes = [sides(leaf.shape) for leaf in jax.tree.leaves(data[0])]
    keys = jax.random.split(key, len(shapes))
    probes = [
        jax.random.rademacher(k, (PROBES, *shape), float).astype(float) for k, shape in zip(keys, shapes, strict=True)
    ]

    def add(totals: list[Array], gradients, shares: Array) -> list[Array]:
        def leaf(total: Array, g: Array, z: Array) -> Array:
            g, z = g.reshape(batch_size, -1), z.reshape(PROBES, -1)
            return total + (((z @ g.T) * shares[None, :]) @ g).reshape(total.shape)

        return [leaf(t, g, z) for t, g, z in zip(totals, jax.tree.leaves(gradients), probes, strict=True)]

    exact = stream(add, [jnp.zeros_like(z) for z in probes], apply, kind, batch_size, data)

    def relative(mz: Array, z: Array, pair: tuple[Array, Array]) -> Array:
        whole = jnp.sum(mz**2)
        lost = jnp.sum((mz - pair[0] @ z @ pair[1]) ** 2)
        return jnp.where(whole > 0, jnp.sqrt(lost / jnp.where(whole > 0, whole, 1.0)), 0.0)

    return [relative(mz, z, pair) for mz, z, pair in zip(exact, probes, factors, strict=True)]


def _unit(a: Array) -> Array:
    mean = jnp.trace(a) / len(a)
    return a / jnp.where(mean > 0, mean, 1.0)
