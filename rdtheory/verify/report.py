"""The report: a JSON file for programs, an HTML page that holds its own pictures for people."""

import base64
import functools
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import jinja2
import numpy as np

import rdtheory
from rdtheory import _compile, _unfinished, distortion, plotting
from rdtheory.limits import algorithms, closed_form
from rdtheory.plotting._style import Axes
from rdtheory.theorems import INDEX
from rdtheory.verify import CHECKS, Outcome, key_of, linear, name, relu, title
from rdtheory.verify.rows import Row

__all__ = ["as_json", "figures", "verdict", "write"]


def verdict(row: Row) -> str:
    """Say whether a row holds, or by how much it does not.

    Examples
    --------
    >>> verdict(Row("", "", 1.0, 1.5, 0.5, 0.1, False))
    'FAILS by 0.4'
    """
    return "holds" if row.holds else f"FAILS by {row.error - row.error_bar:.3g}"


def as_json(outcomes: Sequence[Outcome], *, seed: int, quick: bool) -> dict[str, Any]:
    """What was found, as JSON values; infinities and NaN become strings."""

    def plain(value: Any) -> Any:
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    rows = [
        {
            "check": outcome.check,
            **{field: plain(value) for field, value in row._asdict().items()},
            "verdict": verdict(row),
        }
        for outcome in outcomes
        for row in outcome.rows
    ]
    return {
        "rdtheory": rdtheory.__version__,
        "jax": jax.__version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "quick": quick,
        "holds": all(row["holds"] for row in rows) and not any(outcome.not_run for outcome in outcomes),
        "not_run": {outcome.check: outcome.not_run for outcome in outcomes if outcome.not_run},
        "rows": rows,
    }


def figures(outcomes: Sequence[Outcome], *, seed: int, quick: bool) -> list[tuple[str, str, str]]:
    """Title, caption and SVG of the pictures that belong to the checks that ran."""
    layers = 40 if quick else 240
    rows = [row for outcome in outcomes for row in outcome.rows]

    def coin(ax: Axes) -> None:
        def exact(D: np.ndarray) -> list[float]:
            return [float(closed_form.bernoulli(0.3, d)) for d in D]

        source = np.array([0.3, 0.7])
        steps = functools.partial(algorithms.blahut_arimoto, source, distortion.hamming(2), max_steps=3)
        points = _compile.jit(jax.vmap(steps))(np.geomspace(0.7, 8.0, 60))
        plotting.rate_distortion(points, ax, label="3 steps", exact=exact)

    def bound(ax: Axes) -> None:
        weight_cov, input_variances = linear.uncorrelated_inputs(key_of(linear.linear_bound, seed))
        critical = linear.critical_distortion(weight_cov, input_variances)
        plotting.linear_bound(weight_cov, input_variances, critical, ax)

    def choices(ax: Axes) -> None:
        plotting.optimality(relu.layer_choices(key_of(relu.relu_layer, seed), layers), ax)

    def codes(ax: Axes) -> None:
        mine = [row for outcome in outcomes if outcome.check == "entropy-codes" for row in outcome.rows]
        schemes, rates = [row.computed.partition(",")[0] for row in mine], np.array([row.theory for row in mine])
        # What is at or below the limit fails, and is drawn at the lower edge.
        plotting.distance_to_limit(schemes, rates, np.maximum(rates - [row.numeric for row in mine], 1e-3), ax)

    def evidence(ax: Axes) -> None:
        plotting.evidence([row.error for row in rows], [row.error_bar for row in rows], ax)

    pictures = (
        (
            "coin",
            "A curve with its certificate",
            "A coin of bias 0.3 after only 3 Blahut-Arimoto steps. Toward the critical slope, at D = 0.3, the "
            "iteration is slow, and the band says so: the truth lies inside it everywhere.",
            coin,
        ),
        (
            "linear-bound",
            "The paper's lower bound",
            "Five correlated weights. The bound is exact up to the critical distortion, then loose, then negative.",
            bound,
        ),
        (
            "relu-theorem",
            "One ReLU neuron",
            "Objective and distortion increase with the angle, so minimizing one minimizes the other. The orthogonal "
            "scale is not the best one: the dotted curve is lower.",
            plotting.relu_theorem,
        ),
        (
            "relu-layer",
            "Small layers, all masks",
            f"{layers} layers of 2 neurons and 5 inputs, half of the weights pruned. Share of layers in which the "
            "choice of each objective is within a factor of the least distortion.",
            choices,
        ),
        (
            "entropy-codes",
            "Distance to the limit",
            "Real bytes, header included, of a Gaussian source: what each code spends beyond R(D) at its distortion. "
            "Rounding alone loses 0.2546 bit at high rate.",
            codes,
        ),
        ("", "All comparisons of this run", "Errors at zero are drawn at the lower edge.", evidence),
    )
    ran = {outcome.check for outcome in outcomes} | {""}
    return [
        (title, caption, base64.b64encode(plotting.svg(draw)).decode("ascii"))
        for check, title, caption, draw in pictures
        if check in ran
    ]


def write(folder: Path, outcomes: Sequence[Outcome], *, seed: int, quick: bool) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html`` into `folder`, each only when both are complete.

    Returns
    -------
    The two paths.
    """
    found = as_json(outcomes, seed=seed, quick=quick)
    template = jinja2.Environment(
        loader=jinja2.PackageLoader("rdtheory.verify"), autoescape=True, undefined=jinja2.StrictUndefined
    ).get_template("report.html")
    titles = {name(check): title(check) for check in CHECKS}
    page = template.render(
        found=found,
        figures=figures(outcomes, seed=seed, quick=quick),
        tables=[(outcome.check, titles[outcome.check], outcome.rows) for outcome in outcomes if outcome.rows],
        theorems=[theorem for theorem in INDEX if any(outcome.check in theorem.checks for outcome in outcomes)],
        verdict=verdict,
    )
    paths = folder / "report.json", folder / "report.html"
    with _unfinished.files(*paths) as (values, html):
        values.write_text(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        html.write_text(page, encoding="utf-8")
    return paths
