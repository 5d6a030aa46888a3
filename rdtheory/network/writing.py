"""The report as files: a page with its picture for people, JSON and CSV for programs."""

import base64
import csv
import functools
import io
import json
import math
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

import rdtheory
from rdtheory import _unfinished, plotting
from rdtheory.results import NetworkReport

__all__ = ["as_json", "as_rows", "write"]

ALL = "all layers"


def as_rows(found: NetworkReport) -> list[dict[str, Any]]:
    """One row for each layer and format, and one of all layers for each format; NaN where there is no such number."""
    rows = []
    sizes = np.prod(found.shapes, axis=1)
    for j, layer in enumerate(found.layers):
        for i, name in enumerate(found.formats):
            rows.append(
                {
                    "layer": layer,
                    "format": name,
                    "weights": int(sizes[j]),
                    "bits": float(found.bits[i, j]),
                    "relative": float(found.relative[i, j]),
                    "relative_error": float(found.relative_error[i, j]),
                    **{key: float(value[i, j]) for key, value in found.limit._asdict().items()},
                }
            )
    scale = float(found.power) if found.kind == "jacobian" else math.nan
    for i, name in enumerate(found.formats):
        rows.append(
            {
                "layer": ALL,
                "format": name,
                "weights": int(sizes.sum()),
                "bits": float(found.total_bits[i]),
                "relative": float(found.measured[i]) / scale if scale else math.nan,
                "relative_error": float(found.measured_error[i]) / scale if scale else math.nan,
                **{key: float(value[i]) for key, value in found.total_limit._asdict().items()},
                **{
                    key: float(getattr(found, key)[i])
                    for key in ("predicted", "measured", "measured_error", "agreement", "agreement_error")
                },
            }
        )
    return rows


def as_json(found: NetworkReport) -> dict[str, Any]:
    """What was found, as JSON values; infinities and NaN become strings."""
    layers = [
        {
            "name": name,
            "kind": found.kinds[j],
            "shape": found.shapes[j].tolist(),
            **{key: float(getattr(found, key)[j]) for key in ("rows_per_input", "kurtosis", "divergence")},
        }
        for j, name in enumerate(found.layers)
    ]
    return _plain(
        {
            "rdtheory": rdtheory.__version__,
            "importance": found.kind,
            "examples": dict(zip(("calibration", "held_out"), found.examples.tolist(), strict=True)),
            "power": float(found.power),
            "layers": layers,
            "rows": as_rows(found),
            "skipped": dict(zip(found.skipped, found.reasons, strict=True)),
            "skipped_weights": int(found.skipped_weights),
        }
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def write(folder: Path | str, found: NetworkReport) -> tuple[Path, Path, Path]:
    """Write ``network.html``, ``network.json`` and ``network.csv`` into a folder, each only when all are complete.

    Parameters
    ----------
    folder : made if it is missing.
    found : what `report` returned.

    Returns
    -------
    The three paths.

    Examples
    --------
    >>> import tempfile
    >>> rng = np.random.default_rng(0)
    >>> found = rdtheory.report(lambda w, x: x @ w, rng.normal(size=(16, 100)), rng.normal(size=(200, 16)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(*(path.name for path in write(folder, found)))
    network.html network.json network.csv
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rdtheory.network"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = _number
    rows, values = as_rows(found), as_json(found)
    picture = base64.b64encode(plotting.svg(functools.partial(plotting.formats, found))).decode("ascii")
    page = environment.get_template("network.html").render(
        found=found, rows=rows, picture=picture, all=ALL, version=rdtheory.__version__
    )
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[-1]), restval="")
    writer.writeheader()
    writer.writerows(rows)
    paths = html, values_at, csv_at = target / "network.html", target / "network.json", target / "network.csv"
    texts = page, json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n", table.getvalue()
    with _unfinished.files(*paths) as unfinished:
        for path, text in zip(unfinished, texts, strict=True):
            path.write_text(text, encoding="utf-8", newline="")
    return html, values_at, csv_at


def _number(value: float, digits: int = 3) -> str:
    """As people read it.

    Examples
    --------
    >>> print(_number(0.01234), _number(float("nan")), _number(float("inf")))
    0.0123 – ∞
    """
    if math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value:.{digits}g}"
