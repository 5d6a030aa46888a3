"""How much each weight of a network matters: the weight importance I_w of any JAX model.

For small changes the distortion of a model is quadratic, d(w, ŵ) ≈ (w - ŵ)ᵀ I_w (w - ŵ), with

    I_w = E_X Σ_k ∇f_k ∇f_kᵀ                       regression, d = E‖f_w - f_ŵ‖²       kind "jacobian"
    I_w = ½ log2(e) E_X Σ_y p_y ∇log p_y ∇log p_yᵀ  classification, d = E KL in bits    kinds "fisher" and "ggn"

Half the Fisher information, in bits: it is the second-order term of the divergence, whose Hessian is twice that.
Gradients are those of single examples; the square of a batch's mean gradient is another number (see `as_published`).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int, PRNGKeyArray, PyTree, Shaped

from rdtheory import _checks
from rdtheory.models import _batch_means, _gradients, _kronecker
from rdtheory.results import KroneckerFactors

__all__ = ["as_published", "diagonal", "full", "kronecker"]

LIMIT = 8192  # rows of a matrix that is stored: 512 MiB in float64


def diagonal(
    apply: Callable,
    params: PyTree,
    inputs: Shaped[ArrayLike, "n *axes"],
    *,
    kind: str = "jacobian",
    labels: Int[ArrayLike, " n"] | None = None,
    temperature: Float[ArrayLike, ""] | float = 1.0,
    batch_size: int | None = None,
) -> PyTree:
    r"""Diagonal of the weight importance, one number >= 0 for each weight.

    .. math:: I_i = E_X \sum_r \big(\partial_i\, c_r^\top f_w(X)\big)^2

    where the directions c_r in output space are those of the `kind`:

    - ``"jacobian"``: the outputs themselves, E Σ_k (∂f_k)²; squared output units. For regression, and robust for
      classification too.
    - ``"fisher"``: ½ log2(e) E Σ_y p_y (∂ log p_y)², p = softmax(f / temperature), summed exactly over the classes.
    - ``"ggn"``: the same matrix as ½ log2(e) E Jᵀ H J, H the Hessian of the cross-entropy in f; one backward pass less.
    - ``"gradient"``: ½ log2(e) E (∂L)², L the cross-entropy of the given label in nats. Equal to ``"fisher"`` on
      average over labels drawn from the model; on a network that fits its labels it fades to that of the hard examples.

    Parameters
    ----------
    apply : the model, ``apply(params, inputs)`` from (n, ...) to outputs (n,) or (n, k); for classification k >= 2
        logits. It must treat examples one by one. Compiled once for each function object, so define it outside loops.
    params : w, any pytree of floating arrays; the model and its importance are computed in JAX's default precision.
    inputs : (n, ...), what the expectation is over.
    labels : (n,), class numbers from 0; for ``"gradient"`` alone.
    temperature : > 0; softens the probabilities of all kinds but ``"jacobian"``, and divides ∂ log p too.
    batch_size : examples whose gradients are held at a time; without it as many as fit in 64 MiB. Changes nothing but
        memory and time, up to rounding.

    Returns
    -------
    importance : a pytree like `params`, in squared output units or bits per squared weight.

    Raises
    ------
    ValueError : an unknown kind, inputs that are not finite, labels missing or out of range, outputs of a wrong shape.
    TypeError : a leaf of `params` that is not a floating array, a model that cannot be hashed.

    References
    ----------
    Gao, Liu, Wang & Oh (2019) for the definition; Martens (2020), New Insights and Perspectives on the Natural
    Gradient Method, for the kinds; Tanabe & Sagae (1992) for the factor of H.

    Examples
    --------
    >>> def apply(params, x):
    ...     return x @ params["w"] + params["b"][None, :]
    >>> params = {"b": jnp.zeros(1), "w": jnp.ones((2, 1))}
    >>> found = diagonal(apply, params, jnp.array([[1.0, 2.0], [3.0, 0.0]]))
    >>> print(found["b"], found["w"].ravel())
    [1.] [5. 2.]
    """
    data, batch, ok = _gradients.arguments(apply, params, inputs, kind, labels, temperature, batch_size)
    return _checks.poison(_gradients.diagonal(apply, kind, batch, data), ok)


def full(
    apply: Callable,
    params: PyTree,
    inputs: Shaped[ArrayLike, "n *axes"],
    *,
    kind: str = "jacobian",
    labels: Int[ArrayLike, " n"] | None = None,
    temperature: Float[ArrayLike, ""] | float = 1.0,
    batch_size: int | None = None,
) -> Float[Array, "k k"]:
    r"""The whole weight importance of a small model, E_X Jᵀ M J.

    Parameters
    ----------
    apply, params, inputs, kind, labels, temperature, batch_size : as for `diagonal`.

    Returns
    -------
    importance : (k, k), symmetric positive semidefinite, in the order of ``jax.flatten_util.ravel_pytree(params)``.

    Raises
    ------
    ValueError : as for `diagonal`; more than 8192 weights.

    Examples
    --------
    >>> print(full(lambda w, x: x @ w, jnp.zeros(2), jnp.array([[1.0, 2.0], [3.0, 0.0]])))
    [[5. 1.]
     [1. 2.]]
    """
    data, batch, ok = _gradients.arguments(apply, params, inputs, kind, labels, temperature, batch_size)
    size = sum(leaf.size for leaf in jax.tree.leaves(data[0]))
    if size > LIMIT:
        raise ValueError(
            f"params hold {size:,} weights, and the full importance of more than {LIMIT:,} is not formed: take "
            "kronecker or diagonal, or the weights of one layer with the others inside apply"
        )
    return _checks.poison(_gradients.full(apply, kind, batch, data), ok)


def kronecker(
    apply: Callable,
    params: PyTree,
    inputs: Shaped[ArrayLike, "n *axes"],
    *,
    kind: str = "jacobian",
    labels: Int[ArrayLike, " n"] | None = None,
    temperature: Float[ArrayLike, ""] | float = 1.0,
    batch_size: int | None = None,
    sweeps: int = 2,
    key: PRNGKeyArray | None = None,
) -> PyTree:
    r"""Kronecker factors of each leaf's own block of the importance, I ≈ A ⊗ B.

    .. math:: \min_{A, B} \big\| E\sum_r \operatorname{vec}(G_r)\operatorname{vec}(G_r)^\top - A \otimes B \big\|_F

    over the gradients G of a leaf as a matrix: all axes but the last together, by the last (fan-in by fan-out for dense
    layers and for convolution kernels that end in the output channel). By power iteration from B = identity. The
    result is exact, after one sweep, where the block is a Kronecker product, as for a dense layer whose inputs
    and output gradients are independent; a vector or scalar leaf is one row, with A = 1 and B its full block. What is
    between leaves is left out.

    Parameters
    ----------
    apply, params, inputs, kind, labels, temperature, batch_size : as for `diagonal`.
    sweeps : power iterations, each of two passages over the inputs; two are close to the optimum.
    key : JAX random key for the residuals; without it they are NaN, and a passage over the inputs is saved.

    Returns
    -------
    factors : a pytree like `params` with a `KroneckerFactors` for each leaf: ``input_factor`` A, mean diagonal 1,
        ``output_factor`` B in the units of the importance, and ``residual``, ‖block - A ⊗ B‖/‖block‖ in the Frobenius
        norm, estimated with 16 random sign vectors (about 20 % of itself off).

    Raises
    ------
    ValueError : as for `diagonal`; a factor of more than 8192 rows.

    References
    ----------
    Van Loan & Pitsianis (1993); Martens & Grosse (2015) for the idea in networks.

    Examples
    --------
    >>> factors = kronecker(lambda w, x: x @ w, jnp.zeros((2, 1)), jnp.array([[1.0, 2.0], [3.0, 0.0]]))
    >>> print(jnp.kron(factors.input_factor, factors.output_factor))
    [[5. 1.]
     [1. 2.]]
    """
    data, batch, ok = _gradients.arguments(apply, params, inputs, kind, labels, temperature, batch_size)
    sweeps = _checks.count("sweeps", sweeps, 1)
    for path, leaf in jax.tree_util.tree_flatten_with_path(data[0])[0]:
        if max(_kronecker.sides(leaf.shape)) > LIMIT:
            raise ValueError(
                f"params{jax.tree_util.keystr(path)} has shape {leaf.shape}, and a factor of more than {LIMIT:,} rows "
                "is not formed: take diagonal"
            )
    factors = _kronecker.nearest(apply, kind, batch, sweeps, data)
    if key is None:
        residuals = [jnp.array(jnp.nan) for _ in factors]
    else:
        residuals = _kronecker.residuals(apply, kind, batch, key, factors, data)
    leaves = [KroneckerFactors(*pair, residual) for pair, residual in zip(factors, residuals, strict=True)]
    return _checks.poison(jax.tree.unflatten(jax.tree.structure(data[0]), leaves), ok)


def as_published(
    apply: Callable,
    params: PyTree,
    inputs: Shaped[ArrayLike, "n *axes"],
    labels: Int[ArrayLike, " n"] | None = None,
    *,
    kind: str = "gradient",
    temperature: Float[ArrayLike, ""] | float = 1.0,
    batch_size: int = 10,
) -> PyTree:
    r"""What the authors' public code computes in place of the importance: squares of batch means.

    .. math:: I \propto \sum_{\text{batches}} \big(\nabla\, \bar L\big)^2, \qquad
              I \propto \sum_{\text{batches}} \sum_y (\nabla \bar p_y)^2 / \bar p_y,

    with the mean loss or the mean probabilities of a batch of ten, and then each leaf divided by its mean. Gradients
    of different examples cancel within a batch, so this is not `diagonal`: it equals it, up to scale, only for batches
    of one. Offered for comparison.

    Parameters
    ----------
    apply, params, inputs, temperature : as for `diagonal`; batches are consecutive inputs, a last one may be smaller.
    labels : (n,), class numbers from 0; for ``"gradient"`` alone.
    kind : ``"gradient"``, squares of the mean cross-entropy's gradient, as read in that code; ``"fisher"``, the
        averaged probabilities, as it is described: the file that computes them was not at hand.
    batch_size : 10 in that code.

    Returns
    -------
    importance : a pytree like `params`, without unit, each leaf of mean 1 (or 0 where the model does not depend on it).

    Raises
    ------
    ValueError, TypeError : as for `diagonal`.

    References
    ----------
    The code of Gao, Liu, Wang & Oh (2019), ``get_importance.py``.

    Examples
    --------
    >>> x, y = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([0, 1])
    >>> print(as_published(lambda w, x: x @ w, jnp.eye(2), x, y))
    [[1. 1.]
     [1. 1.]]
    """
    if kind not in ("gradient", "fisher"):
        raise ValueError(f"kind must be 'gradient' or 'fisher' here, got {kind!r}")
    batch_size = _checks.count("batch_size", batch_size, 1)
    (w, x, y, temperature), _, ok = _gradients.arguments(apply, params, inputs, kind, labels, temperature, None)
    whole = len(x) // batch_size * batch_size
    total = jax.tree.map(jnp.zeros_like, w)
    for part in (slice(0, whole), slice(whole, None)):
        if len(x[part]):
            size = min(batch_size, len(x[part]))
            batches = (x[part].reshape(-1, size, *x.shape[1:]), y[part].reshape(-1, size))
            total = jax.tree.map(jnp.add, total, _batch_means.squares(apply, kind, w, *batches, temperature))
    means = jax.tree.map(jnp.mean, total)
    result = jax.tree.map(lambda leaf, mean: leaf / jnp.where(mean > 0, mean, 1.0), total, means)
    return _checks.poison(result, ok)
