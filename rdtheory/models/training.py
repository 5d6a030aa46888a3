"""Training the small networks that the theorems are checked on."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int, PRNGKeyArray

from rdtheory import _checks

__all__ = ["Network", "logits", "train"]


class Network(NamedTuple):
    """One hidden layer of ReLU units without biases, the model of `relu`."""

    hidden: Float[Array, "h m"]  #: w_j, one row per unit
    output: Float[Array, "h k"]  #: v_j


@jax.jit
def logits(network: Network, inputs: Float[ArrayLike, "n m"]) -> Float[Array, "n k"]:
    """Outputs Σ_j v_j ReLU(w_jᵀ x) of the network.

    Examples
    --------
    >>> network = Network(jnp.array([[1.0], [-1.0]]), jnp.array([[1.0], [1.0]]))
    >>> print(logits(network, jnp.array([[-2.0], [3.0]])).ravel())
    [2. 3.]
    """
    return jax.nn.relu(jnp.asarray(inputs) @ network.hidden.T) @ network.output


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
    y = np.asarray(labels)
    if y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise ValueError(
            f"labels must be {len(x)} class numbers >= 0, one per input, got shape {y.shape}, dtype {y.dtype}"
        )
    if hidden < 1 or steps < 0:
        raise ValueError(f"hidden must be at least 1 and steps at least 0, got {hidden} and {steps}")
    return _checks.poison(_train(key, x, jnp.asarray(y), hidden, int(y.max()) + 1, steps, learning_rate), ok)


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
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
