"""What many seeds say together: means with their spread, and each method beside a baseline, seed by seed."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from rdtheory.experiment import records
from rdtheory.experiment.records import Record

__all__ = ["Summary", "rows", "summarize", "table", "to_csv"]


class Summary(NamedTuple):
    """One method at one rate. An ``_error`` is one standard error of the mean, NaN for a single seed.

    Means and comparisons are over the seeds that did not fail, and NaN if all did.
    """

    data: str
    scheme: str
    objective: str
    rate: float
    seeds: int  #: measured
    failed: int  #: of them, those with a score that is no finite number
    accuracy: float
    accuracy_error: float
    cross_entropy: float
    cross_entropy_error: float
    kl: float
    kl_error: float
    bits_per_weight: float
    bits_per_weight_error: float
    kl_ratio: float  #: geometric mean over shared seeds of KL / the baseline's; NaN without a baseline
    kl_ratio_error: float  #: one standard error of its logarithm, times the ratio
    accuracy_gain: float  #: mean over shared seeds of accuracy - the baseline's
    accuracy_gain_error: float
    won: int  #: shared seeds with a KL below the baseline's
    lost: int  #: shared seeds with a KL above it
    paired: int  #: shared seeds


def summarize(measured: Iterable[Record], baseline: tuple[str, str] | None = None) -> list[Summary]:
    """Mean, standard error and comparison with a baseline, of every method at every rate.

    Parameters
    ----------
    measured : records in any order, at most one for each cell.
    baseline : (scheme, objective) that the others are compared with, at the same data, rate and seed. What is paired
        is the target rate: compare `bits_per_weight` too before calling one method better.

    Returns
    -------
    summaries : by data, scheme, objective in the order they first appear, then by rate.

    Raises
    ------
    ValueError : no record is of the baseline.

    Examples
    --------
    >>> costs = {("a", 0): 1.0, ("a", 1): 4.0, ("b", 0): 0.5, ("b", 1): 1.0}
    >>> found = summarize([Record("digits", "prune", name, 0.3, seed, 0.9, 1.0, kl, 9.6, 0.1)
    ...                    for (name, seed), kl in costs.items()], ("prune", "a"))
    >>> print(found[1].objective, found[1].kl, round(found[1].kl_ratio, 4), f"{found[1].won} of {found[1].paired}")
    b 0.75 0.3536 2 of 2
    """
    groups: dict[tuple[str, str, str], dict[float, dict[int, Record]]] = {}
    for record in measured:
        method = groups.setdefault((record.data, record.scheme, record.objective), {})
        method.setdefault(record.rate, {})[record.seed] = record
    if baseline is not None and baseline not in {method[1:] for method in groups}:
        known = ", ".join(sorted({f"{scheme} {objective}" for _, scheme, objective in groups}))
        raise ValueError(f"baseline must be a (scheme, objective) that was measured, got {baseline}; there is {known}")
    return [
        _summary(group, groups.get((key[0], *baseline), {}).get(rate, {}) if baseline else {})
        for key, rates in groups.items()
        for rate, group in sorted(rates.items())
    ]


def rows(summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    """One dictionary a summary, as JSON can hold it: what is not a number is None."""
    return [
        {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in pairs}
        for pairs in (summary._asdict().items() for summary in summaries)
    ]


def to_csv(summaries: Sequence[Summary]) -> str:
    """The same as comma-separated values, with a line of names; what is not a number is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, Summary._fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(summaries))
    return text.getvalue()


def table(summaries: Sequence[Summary], title: str = "") -> Table:
    """The same for the terminal: mean ± standard error, ratio, seeds won, seeds that failed if any did.

    What is the same everywhere is left out.
    """
    result = Table(title=Text(title) if title else None, header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown = [i for i in range(3) if i == 2 or len({one[i] for one in summaries}) > 1]
    for i in shown:
        result.add_column(Summary._fields[i])
    headings = {
        "rate": 4,
        "bits per weight": 8,
        "accuracy, %": 9,
        "cross-entropy, bits": 8,
        "KL, bits": 8,
        "KL ratio": 8,
        "won": 6,
    }
    if any(one.failed for one in summaries):
        headings["failed"] = 6
    for heading, width in headings.items():
        result.add_column(heading, justify="right", min_width=width)
    last = None
    for one in summaries:
        if last not in (None, one[:3]) and len({each.rate for each in summaries}) > 1:
            result.add_section()
        last = one[:3]
        compared = (
            (_with_error(one.kl_ratio, one.kl_ratio_error), f"{one.won} of {one.paired}") if one.paired else ("", "")
        )
        means = (
            f"{one.bits_per_weight:.4g}",
            _with_error(100 * one.accuracy, 100 * one.accuracy_error),
            _with_error(one.cross_entropy, one.cross_entropy_error),
            _with_error(one.kl, one.kl_error),
        )
        if one.failed == one.seeds:
            means = ("failed",) * len(means)
        lost = (f"{one.failed} of {one.seeds}" if one.failed else "",) if "failed" in headings else ()
        fields = (*(str(one[i]) for i in shown), f"{one.rate:g}", *means, *compared, *lost)
        result.add_row(*(Text(field) for field in fields))
    return result


def _summary(group: dict[int, Record], reference: dict[int, Record]) -> Summary:
    first, sound = next(iter(group.values())), _sound(group)
    means = [number for name in records.MEASURES for number in _mean([getattr(one, name) for one in sound.values()])]
    pairs = [(one, other) for seed, one in sound.items() if (other := _sound(reference).get(seed))]
    kl, kl_reference = (np.array([pair[i].kl for pair in pairs]) for i in (0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        # A KL of zero makes the ratio zero or infinite, two of them no number.
        log_ratio, error = _mean(np.log(kl) - np.log(kl_reference))
        ratio = float(np.exp(log_ratio))
    gain = _mean([one.accuracy - other.accuracy for one, other in pairs])
    won, lost = int(np.sum(kl < kl_reference)), int(np.sum(kl > kl_reference))
    counts = len(group), len(group) - len(sound)
    return Summary(*first[:4], *counts, *means, ratio, ratio * error, *gain, won, lost, len(pairs))


def _sound(group: dict[int, Record]) -> dict[int, Record]:
    return {seed: record for seed, record in group.items() if not records.failed(record)}


def _mean(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean and its standard error; NaN where there are too few."""
    x = np.asarray(values, float)
    mean = float(x.mean()) if x.size else math.nan
    return mean, float(x.std(ddof=1) / math.sqrt(x.size)) if x.size > 1 else math.nan


def _with_error(value: float, error: float) -> str:
    """To two digits of the error."""
    if not math.isfinite(error) or error <= 0:
        return f"{value:.4g}"
    places = max(0, 1 - math.floor(math.log10(error)))
    if places > 6:
        return f"{value:.3g} ± {error:.1e}"
    return f"{value:.{places}f} ± {error:.{places}f}"
