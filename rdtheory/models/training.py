"""Training: any model by minibatches, and the small networks without biases that the theorems are checked on."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Float, Int, PRNGKeyArray, Shaped

from rdtheory import _checks, _compile, _progress, _tree_checks
from rdtheory.models import _examples, _minibatches, datasets, evaluation
from rdtheory.models._examples import Apply

__all__ = ["Fitted", "Network", "fit", "logits", "train"]


class Network(NamedTuple):
    """One hidden layer of ReLU units without biases, the model of `relu`."""

    hidden: Float[Array, "h m"]  #: w_j, one row per unit
    output: Float[Array, "h k"]  #: v_j


class Fitted(NamedTuple):
    """A fitted model, and how the fitting went: losses in bits for classes, squared units for real targets."""

    params: Any  #: after `epoch` epochs
    epoch: Int[Array, ""]  #: the last epoch, or that of least held-out loss
    losses: Float[Array, " e"]  #: mean over the batches of each epoch, while they were used
    held_out_losses: Float[Array, " e"]  #: after each epoch; NaN if nothing was held out


@_compile.jit
def logits(network: Network, inputs: Float[ArrayLike, "n m"]) -> Float[Array, "n k"]:
    """Outputs Σ_j v_j ReLU(w_jᵀ x) of the network.

    Examples
    --------
    >>> network = Network(jnp.array([[1.0], [-1.0]]), jnp.array([[1.0], [1.0]]))
    >>> print(logits(network, jnp.array([[-2.0], [3.0]])).ravel())
    [2. 3.]
    """
    return jax.nn.relu(jnp.asarray(inputs) @ network.hidden.T) @ network.output


def fit(
    apply: Apply,
    params: Any,
    inputs: Float[ArrayLike, "n m"],
    labels: Shaped[ArrayLike, "n *k"],
    *,
    key: PRNGKeyArray,
    epochs: int = 20,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    held_out: datasets.Dataset | None = None,
    patience: int = 5,
    progress: bool = True,
) -> Fitted:
    """Any model, fitted by Adam on shuffled batches: to cross-entropy for class numbers, else to squared error.

    The step falls to zero along half a cosine over all `epochs`. An epoch leaves out the examples that do not fill a
    last batch, others each time.

    Parameters
    ----------
    apply, params : the model, ``apply(params, x)`` (b, k) for x (b, m), and where it starts: any pytree of
        floating arrays, whose dtypes are kept.
    inputs : (n, m); used in the precision of `params`.
    labels : (n,) class numbers from 0 to k - 1 (an integer dtype), or real targets (n, k), or (n,) for one output.
    key : JAX random key of the shuffling; the same key gives the same bits.
    epochs : passes over the data, at most.
    batch_size, learning_rate : examples in a step, and the first step's size.
    held_out : a part of the **training** data; its loss is looked at after each epoch, `patience` epochs without a new
        least one end the fitting, and the parameters of the least one are returned. A test set chosen by is none.
    patience : see `held_out`.
    progress : show a bar on stderr, where that is a terminal.

    Returns
    -------
    Fitted : ``params``, ``epoch``, ``losses``, ``held_out_losses``. Works under ``jit`` and ``vmap``, where nothing is
        held out.

    Raises
    ------
    ValueError : inputs or `params` that are not finite, labels that do not match inputs or outputs, a count out of
        range.
    TypeError : a leaf of `params` that is not a floating array.

    References
    ----------
    Kingma & Ba (2015); Loshchilov & Hutter (2017), for the cosine.

    Examples
    --------
    >>> inputs = jax.random.normal(jax.random.key(0), (200, 2))
    >>> fitted = fit(lambda w, x: x @ w, jnp.zeros((2, 1)), inputs, inputs @ jnp.array([3.0, -1.0]),
    ...              key=jax.random.key(1), batch_size=20, learning_rate=0.1)
    >>> print(fitted.params.ravel().round(2))
    [ 3. -1.]
    """
    params, params_ok = _tree_checks.tree("params", params)
    dtype = jnp.result_type(*jax.tree.leaves(params))
    x, y, ok = _data(apply, params, inputs, labels, dtype)
    ok &= params_ok
    epochs, patience = _checks.count("epochs", epochs, 0), _checks.count("patience", patience, 1)
    batch_size = min(_checks.count("batch_size", batch_size, 1), len(x))
    rate, rate_ok = _checks.nonnegative("learning_rate", learning_rate)
    score = evaluation.surprise if jnp.issubdtype(y.dtype, jnp.integer) else _minibatches.squares
    if held_out is not None:
        other_x, other_y, _ = _data(apply, params, *held_out, dtype, "held_out.")
        if other_y.dtype != y.dtype:
            raise ValueError(f"held_out.labels must be of the kind of labels, {y.dtype}, got {other_y.dtype}")

    total = max(1, epochs * (len(x) // batch_size))
    state, best, losses, held_losses = (params, _minibatches.start(params)), params, [], []
    with _progress.doing("training", epochs, shown=progress) as tell:
        for epoch in range(epochs):
            state, loss = _minibatches.epoch(score, apply, batch_size, total, state, x, y, key, epoch, rate)
            losses.append(loss)
            if held_out is not None:
                held_losses.append(float(evaluation.mean(score, apply, (state[0],), other_x, other_y, 1000)))
                if held_losses[-1] == min(held_losses):
                    best = state[0]
                elif len(held_losses) - held_losses.index(min(held_losses)) > patience:
                    break
            if progress and tell is not _progress.nothing and not isinstance(loss, Tracer):
                tell(f"loss {float(loss):.4f}", 1)  # waits for the epoch, or the bar would run ahead of the work
    xp, *known = _checks.look(*losses)
    chosen = held_losses.index(min(held_losses)) + 1 if held_losses else len(losses)
    result = Fitted(
        best if held_losses else state[0],
        jax.device_put(np.asarray(chosen)),
        jax.device_put(xp.stack(known)) if losses else jnp.zeros(0, dtype),
        jax.device_put(np.array(held_losses if held_losses else [np.nan] * len(losses), dtype)),
    )
    return _checks.poison(result, ok & rate_ok)


def train(
    key: PRNGKeyArray,
    inputs: Float[ArrayLike, "n m"],
    labels: Int[ArrayLike, " n"],
    hidden: int,
    *,
    steps: int = 500,
    learning_rate: float = 0.02,
) -> Network:
    """Classifier of one hidden layer, fitted to cross-entropy by Adam on the whole data set.

    Parameters
    ----------
    key : JAX random key of the initial weights; the same key gives the same network.
    inputs : (n, m).
    labels : (n,), class numbers from 0.
    hidden : number of ReLU units.
    steps, learning_rate : of the optimizer.

    Returns
    -------
    Network : ``hidden`` (hidden, m) and ``output`` (hidden, classes).

    Raises
    ------
    ValueError : inputs that are not finite, labels that are not one class number per input, no hidden unit.

    Examples
    --------
    >>> inputs = jax.random.normal(jax.random.key(0), (200, 2))
    >>> labels = (inputs[:, 0] * inputs[:, 1] > 0).astype(int)
    >>> network = train(jax.random.key(1), inputs, labels, 8)
    >>> bool(jnp.mean(logits(network, inputs).argmax(axis=1) == labels) > 0.95)
    True
    """
    x, ok = _checks.finite("inputs", inputs, 2)
    y = _checks.native(np.asarray(labels))
    if y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise ValueError(
            f"labels must be {len(x)} class numbers >= 0, one per input, got shape {y.shape}, dtype {y.dtype}"
        )
    if hidden < 1 or steps < 0:
        raise ValueError(f"hidden must be at least 1 and steps at least 0, got {hidden} and {steps}")
    return _checks.poison(_train(key, x, jax.device_put(y), hidden, int(y.max()) + 1, steps, learning_rate), ok)


@functools.partial(_compile.jit, static_argnums=(3, 4, 5))
def _train(key: Array, x: Array, y: Array, hidden: int, classes: int, steps: int, learning_rate: Array) -> Network:
    import optax  # here, because it is most of what `import rdtheory` would cost, and only training needs it

    key_hidden, key_output = jax.random.split(key)
    network = Network(
        jax.random.normal(key_hidden, (hidden, x.shape[1]), x.dtype) * jnp.sqrt(2 / x.shape[1]),
        jax.random.normal(key_output, (hidden, classes), x.dtype) * jnp.sqrt(1 / hidden),
    )
    optimizer = optax.adam(learning_rate)

    def loss(network: Network) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(logits(network, x), y).mean()

    def step(state, _):
        network, moments = state
        updates, moments = optimizer.update(jax.grad(loss)(network), moments)
        return (optax.apply_updates(network, updates), moments), None

    (network, _), _ = lax.scan(step, (network, optimizer.init(network)), length=steps)
    return network


def _data(
    apply: Apply, params: Any, inputs: ArrayLike, labels: ArrayLike, dtype: jnp.dtype, owner: str = ""
) -> tuple[Array, Array, _checks.Flag]:
    name = f"{owner}labels"
    x, x_ok = _examples.rows(inputs, f"{owner}inputs")
    x = x.astype(dtype)
    k = _examples.outputs(apply, params, x)
    if jnp.issubdtype(jnp.result_type(_checks.native(labels)), jnp.integer):
        y, y_ok = _examples.classes(labels, len(x), k, name)
        return x, y, x_ok & y_ok
    y, y_ok = _checks.finite(name, labels)
    if y.shape != (len(x), k) and (y.shape != (len(x),) or k != 1):
        raise ValueError(
            f"{name} must be whole class numbers, or real targets of shape {(len(x), k)}, one for each output, "
            f"got dtype {y.dtype} and shape {y.shape}"
        )
    return x, jax.device_put(_checks.look(y)[1].reshape(len(x), k).astype(dtype)), x_ok & y_ok
