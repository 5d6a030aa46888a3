"""How much each weight of a network matters: the weight importance I_w of any JAX model.

For small changes the distortion of a model is quadratic, d(w, ŵ) ≈ (w - ŵ)ᵀ I_w (w - ŵ), with

    I_w = E_X Σ_k ∇f_k ∇f_kᵀ for regression, d = E‖f_w - f_ŵ‖², kind "jacobian",

    I_w = ½ log2(e) E_X Σ_y p_y ∇log p_y ∇log p_yᵀ for classification, d = E KL in bits, kinds "fisher" and "ggn".

Half the Fisher information, in bits: it is the second-order term of the divergence, whose Hessian is twice that.
Gradients are those of single examples; the square of a batch's mean gradient is another number (see `as_published`).
"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int, PRNGKeyArray, PyTree, Shaped

from rdtheory import _checks, _compile, _progress, _tree_checks
from rdtheory.models import _batch_means, _gradients, _kronecker, _moments
from rdtheory.results import KroneckerFactors, SampledImportance, WeightMoments

__all__ = ["as_published", "diagonal", "from_matrices", "full", "kronecker", "moments", "sampled", "to_matrices"]

LIMIT = 8192  # rows of a matrix that is stored: 512 MiB in float64


@_progress.doing("importance.diagonal")
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
    batch_size : examples whose gradients are held at a time; without it as many as fit in 64 MiB, and of a network with
        convolutions one, which is what a CPU is fast at. Changes nothing but memory and time, up to rounding.

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


@_progress.doing("importance.sampled")
def sampled(
    apply: Callable,
    params: PyTree,
    inputs: Shaped[ArrayLike, "n *axes"],
    key: PRNGKeyArray,
    *,
    samples: int = 1,
    kind: str = "jacobian",
    labels: Int[ArrayLike, " n"] | None = None,
    temperature: Float[ArrayLike, ""] | float = 1.0,
    batch_size: int | None = None,
) -> SampledImportance:
    r"""Diagonal of the weight importance by random directions: a few backward passes, however many the outputs.

    .. math:: I_i \approx \frac1n\sum_X \frac1S\sum_s \Big(\partial_i\, \sum_r s_r c_r^\top f_w(X)\Big)^2

    with the directions of `diagonal` and random signs, other ones for each example, E s sᵀ = 1: right on average.

    Parameters
    ----------
    apply, params, inputs, kind, labels, temperature, batch_size : as for `diagonal`.
    key : JAX random key.
    samples : S, directions for each example.

    Returns
    -------
    SampledImportance : ``importance`` like `params`, and the ``standard_error`` of each entry as an estimate of the
        mean over all X, of which the inputs are a sample; its part that comes from the signs falls with n S.

    Raises
    ------
    ValueError, TypeError : as for `diagonal`.

    References
    ----------
    Hutchinson (1990).

    Examples
    --------
    >>> x = jax.random.normal(jax.random.key(0), (500, 2)) * jnp.array([1.0, 3.0])[None]
    >>> apply = lambda w, x: x @ w @ jnp.array([[3.0, 0.0], [0.0, 4.0]])
    >>> found = sampled(apply, jnp.ones((2, 2)), x, jax.random.key(1))
    >>> exact = jnp.outer(jnp.array([1.0, 9.0]), jnp.array([9.0, 16.0]))
    >>> print(jnp.max(jnp.abs(found.importance - exact) / found.standard_error) < 3)
    True
    """
    data, batch, ok = _gradients.arguments(apply, params, inputs, kind, labels, temperature, batch_size)
    samples = _checks.count("samples", samples, 1)
    return _checks.poison(SampledImportance(*_gradients.sampled(apply, kind, batch, samples, key, data)), ok)


@_progress.doing("importance.full")
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


@_progress.doing("importance.kronecker")
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


@_progress.doing("importance.moments")
def moments(
    apply: Callable,
    params: PyTree,
    inputs: PyTree | Iterator,
    *,
    kind: str = "jacobian",
    labels: Int[ArrayLike, " n"] | None = None,
    temperature: Float[ArrayLike, ""] | float = 1.0,
    samples: int | None = None,
    key: PRNGKeyArray | None = None,
    batch_size: int | None = None,
) -> PyTree:
    r"""Second moments where weights meet activations, and of the gradients there, found in the traced program.

    A matrix W (m, k) that makes results :math:`W^\top x_t` of the rows :math:`x_t` of an example has the importance

    .. math:: E\sum_c \operatorname{vec}\Big(\sum_t x_t g_t^\top\Big) \operatorname{vec}(\cdot)^\top \approx A\otimes B,
              \quad A = \overline{x x^\top}, \quad B = E\sum_c\sum_t g_t g_t^\top,

    with g the gradients of the directions c of `diagonal`. It is exact where x and g are independent and different
    rows uncorrelated. One passage forward and one back for each direction give all leaves; no gradient of a weight is
    formed. Dense layers, convolutions and lookups in a table are found behind reshapes, transposes, slices and casts,
    inside `jax.jit`, `jax.checkpoint` and `lax.scan` of at most 64 steps. The rows of a convolution are its patches,
    those of a table are unit vectors. A leaf that is used more than once has the Kronecker product nearest to the sum
    of its uses, with the trace of that.

    Parameters
    ----------
    apply : the model, ``apply(params, inputs)``, an array of one row of outputs for each example; of any further shape,
        for classification with the logits along the last axis. Examples are looked at one by one.
    params : w, any pytree of floating arrays. The model runs in the precision that they and the inputs have.
    inputs : a pytree of arrays (n, ...), or an iterator of such batches, which are added up.
    kind, labels, temperature : as for `diagonal`; no labels with an iterator.
    samples : number of random directions for each example in place of all, signs s with E s sᵀ = 1: for many outputs.
    key : JAX random key, with `samples`.
    batch_size : examples at a time; as many as fit in 128 MiB.

    Returns
    -------
    moments : a pytree like `params` with a `WeightMoments` for each leaf; leaves that are used in another way have no
        parts, and the ``reason``. `to_matrices` gives the matrices, `from_matrices` puts them back. The sums are made
        on the host, so that this is not for `jax.jit` or `jax.vmap`.

    Raises
    ------
    ValueError : inputs or activations that are not finite, arrays of different lengths, an unknown kind, labels or a
        key missing, outputs of a wrong shape.
    TypeError : a leaf of `params` that is not a floating array, a model that cannot be hashed.

    References
    ----------
    Martens & Grosse (2015), Grosse & Martens (2016) for the approximations in dense layers and in convolutions.

    Examples
    --------
    >>> def apply(params, tokens):
    ...     return params["table"][tokens].sum(axis=1) @ params["out"].T
    >>> params = {"out": jnp.ones((3, 2)), "table": jnp.eye(4, 2), "scale": jnp.ones(())}
    >>> found = moments(apply, params, np.array([[0, 1], [0, 3]]))
    >>> print(found["out"].inputs[0], found["out"].layout[0], found["table"].inputs[0], found["scale"].reason, sep="\n")
    [[1.  0.5]
     [0.5 0.5]]
    [[0 2 4]
     [1 3 5]]
    [0.5  0.25 0.   0.25]
    the outputs do not depend on it
    """
    if _compile.is_traced(params, inputs if not isinstance(inputs, Iterator) else ()):
        raise TypeError("moments are added up on the host: call this outside jax.jit and jax.vmap")
    _gradients.choice(apply, kind)
    w, _ = _tree_checks.tree("params", params)
    draws = 0 if samples is None else _checks.count("samples", samples, 1)
    if draws and key is None:
        raise ValueError("samples are drawn with a key: key=jax.random.key(0)")
    size = None if batch_size is None else _checks.count("batch_size", batch_size, 1)
    T, _ = _checks.finite("temperature", temperature, 0)
    _checks.holds(_checks.look(T)[1] > 0, lambda: f"temperature must be > 0, got {T}")
    data = _moments.batches(inputs, kind, labels)
    found = _moments.collect(apply, kind, draws, jax.random.key(0) if key is None else key, w, data, T, size)
    leaves = jax.tree_util.tree_flatten_with_path(w)[0]
    result = _moments.of_leaves(len(leaves), *found)
    for (path, _), one in zip(leaves, result, strict=True):
        if not all(np.isfinite(x).all() for x in jax.tree.leaves(one[:2])):
            where = jax.tree_util.keystr(path)
            raise ValueError(f"inputs make activations or gradients at params{where} that are not finite")
    return jax.tree.unflatten(jax.tree.structure(w), result)


def to_matrices(weights: Shaped[ArrayLike, "*axes"], moments: WeightMoments) -> Shaped[np.ndarray, "parts m k"]:
    """The matrices (m inputs, k outputs) that an array of weights is used as.

    Parameters
    ----------
    weights : a leaf of the `params` of `moments`.
    moments : what `moments` found for it.

    Raises
    ------
    ValueError : an array that is too small.

    Examples
    --------
    >>> w = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> print(to_matrices(w, moments(lambda w, x: x @ w.T, w, jnp.ones((1, 2)))))
    [[[1. 3. 5.]
      [2. 4. 6.]]]
    """
    flat = np.asarray(weights).ravel()
    if moments.layout.size and moments.layout.max() >= flat.size:
        raise ValueError(f"weights must be the array that the moments are of, got {flat.size} of them")
    return flat[moments.layout]


def from_matrices(
    matrices: Shaped[ArrayLike, "parts m k"], weights: Shaped[ArrayLike, "*axes"], moments: WeightMoments
) -> Shaped[np.ndarray, "*axes"]:
    """An array of weights with the entries of its matrices replaced, in its own shape and dtype.

    Parameters
    ----------
    matrices : in the shape of `to_matrices`.
    weights, moments : as for `to_matrices`.

    Examples
    --------
    >>> w = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> found = moments(lambda w, x: x @ w.T, w, jnp.ones((1, 2)))
    >>> print(from_matrices(2 * to_matrices(w, found), w, found))
    [[ 2.  4.]
     [ 6.  8.]
     [10. 12.]]
    """
    replaced = np.array(weights).ravel()
    if np.shape(matrices) != moments.layout.shape:
        raise ValueError(f"matrices must have shape {moments.layout.shape}, got {np.shape(matrices)}")
    replaced[moments.layout] = np.asarray(matrices, replaced.dtype)
    return replaced.reshape(np.shape(weights))


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
