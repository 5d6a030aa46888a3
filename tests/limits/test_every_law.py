"""The greatest c over every law: its search in tight places, and one line of it wrong at a time.

A line is changed in the text of the module, which is then run as one of its own.
"""

import types
from pathlib import Path

import jax
import numpy as np
import pytest

from rdtheory.limits.certify import every_law
from rdtheory.rigor._balls import flint
from tests.limits.test_certify import log_c

PROBLEMS, LETTERS = 24, 3  # of X


def variant(*changes):
    text = Path(every_law.__file__).read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    module = types.ModuleType("variant")
    exec(compile(text, "variant", "exec"), module.__dict__)
    return module.greatest_c


def bounds(greatest_c, *problems):
    return np.asarray(jax.jit(lambda *all_: jax.lax.map(lambda one: greatest_c(*one), all_))(*problems, problems[-1]))


def how_much_too_low(greatest_c, k):
    """Bits by which the worst bound is below the greatest c of 2,000 laws."""
    rng = np.random.default_rng([0, k])
    laws, p = rng.dirichlet(np.full(k, 0.7), (PROBLEMS, LETTERS)), rng.dirichlet(np.ones(LETTERS), PROBLEMS)
    s = 10.0 ** rng.uniform(-0.5, 2, PROBLEMS)
    own = np.sum(laws * np.log2(laws), axis=2)
    potentials = s[:, None] * (np.log2(k) + own) * rng.random((PROBLEMS, LETTERS))
    found = bounds(greatest_c, p, potentials, s, laws)
    mixed = rng.dirichlet(np.ones(LETTERS), (PROBLEMS, 2000)) @ laws
    divergences = own[:, :, None] - laws @ np.swapaxes(np.log2(mixed), 1, 2)
    c = np.sum(p[:, :, None] * np.exp2(potentials[:, :, None] - s[:, None, None] * divergences), axis=1)
    return np.max(np.log2(np.max(c, axis=1)) - found)


NARROW = [("HALVED, ROUNDS = 128, 4000", "HALVED, ROUNDS = 2, 4000"), ("100 * HALVED", "4 * HALVED")]
BRIEF = [("HALVED, ROUNDS = 128, 4000", "HALVED, ROUNDS = 2, 3")]
COARSE = [("WHOLE = 2**60", "WHOLE = 2**1"), ("ROUNDS = 128, 4000", "ROUNDS = 128, 40")]
WRONG = {
    "simplices still open": (
        2,
        BRIEF,
        ("jnp.maximum(jnp.maximum(highest + close, left_out), rest)", "jnp.maximum(highest + close, left_out)"),
    ),
    "edges of odd length": (3, COARSE, ("jnp.any(both % 2 == 1, axis=1)", "jnp.any(both < 0, axis=1)")),
    "what is not halved": (3, COARSE, ("jnp.maximum(highest + close, left_out)", "highest + close")),
    "one of the halves": (2, [], ("parts.at[row, j].set(middle)", "parts.at[row, i].set(middle)")),
    "what is not yet close": (2, [], ("& (found > highest + close)\n", "& (found > highest + 4 * close)\n")),
    "no room": (3, NARROW, ("(start + 3 * HALVED > room)", "(start < 0)")),
    "all but the last": (3, NARROW, ("start + jnp.sum(open_)", "jnp.sum(open_)")),
}


@pytest.mark.parametrize(
    ("k", "tight"), [(2, []), (2, BRIEF), (3, COARSE), (3, NARROW)], ids=["as it is", "few rounds", "coarse", "no room"]
)
def test_a_search_that_ends_early_gives_a_bound(k, tight):
    assert how_much_too_low(variant(*tight), k) <= 1e-12


@pytest.mark.parametrize("forgotten", WRONG)
def test_what_a_search_forgets_is_noticed(forgotten):
    k, tight, change = WRONG[forgotten]
    assert how_much_too_low(variant(*tight, change), k) > 1e-4


def test_rounding_is_allowed_for_where_it_matters():
    """Laws that differ in their last digits, at slopes at which these count."""
    rng = np.random.default_rng(2)
    apart = 10.0 ** rng.uniform(-16, -7, (PROBLEMS, 1, 1)) * rng.normal(size=(PROBLEMS, LETTERS, 2))
    laws = rng.dirichlet(np.ones(2), PROBLEMS)[:, None, :] * (1 + apart)
    laws /= laws.sum(axis=2, keepdims=True)
    p, s = rng.dirichlet(np.ones(LETTERS), PROBLEMS), 10.0 ** rng.uniform(12, 18, PROBLEMS)
    potentials = np.zeros((PROBLEMS, LETTERS))

    def false(*changes):
        found = bounds(variant(*changes), p, potentials, s, laws)
        return [
            i for i in range(PROBLEMS) for row in rows(i) if log_c(p[i], potentials[i], s[i], rows(i), row) > found[i]
        ]

    def rows(i):
        exact = [[flint.arb(x) for x in row] for row in laws[i].tolist()]
        return [[x / sum(row, flint.arb(0)) for x in row] for row in exact]

    with flint.ctx.workprec(200):
        assert not false()
        assert false(
            (
                "return constant[:, None] - s * (negentropies[:, None] + cross), (4 * k + 40) * sizes",
                "return constant[:, None] - s * (negentropies[:, None] + cross), 0 * sizes",
            )
        )
