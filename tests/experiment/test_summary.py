import csv
import io
import json
import math
import re

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from rdtheory.experiment import summary
from rdtheory.experiment.records import Record

rng = np.random.default_rng(0)
KL = rng.lognormal(size=(2, 3, 6))  # rate, method, seed
ACCURACY = rng.uniform(0.3, 1.0, size=(2, 3, 6))
METHODS = [("prune", "magnitude"), ("prune", "jacobian"), ("obs", "jacobian")]
BASELINE = METHODS[0]


def record(rate, method, seed, **changes):
    fields = Record("digits", *METHODS[method], [0.3, 0.1][rate], seed, ACCURACY[rate, method, seed], 1.5,
                    KL[rate, method, seed], 3.2 + 0.1 * seed, 0.1)  # fmt: skip
    return fields._replace(**changes)


RECORDS = [record(rate, method, seed) for seed in range(6) for rate in range(2) for method in range(3)]


def find(summaries, method, rate):
    return next(one for one in summaries if (one.scheme, one.objective, one.rate) == (*METHODS[method], rate))


def test_means_and_standard_errors_are_scipys():
    one = find(summary.summarize(RECORDS), 1, 0.3)
    assert one.seeds == 6
    for name, values in [("kl", KL[0, 1]), ("accuracy", ACCURACY[0, 1]), ("bits_per_weight", 3.2 + 0.1 * np.arange(6))]:
        np.testing.assert_allclose(getattr(one, name), np.mean(values), rtol=1e-14)
        np.testing.assert_allclose(getattr(one, f"{name}_error"), stats.sem(values), rtol=1e-13)
    assert (one.cross_entropy, one.cross_entropy_error) == (1.5, 0)


def test_the_comparison_is_seed_by_seed():
    one = find(summary.summarize(RECORDS, BASELINE), 1, 0.3)
    ratios = KL[0, 1] / KL[0, 0]
    np.testing.assert_allclose(one.kl_ratio, stats.gmean(ratios), rtol=1e-13)
    np.testing.assert_allclose(one.kl_ratio_error, stats.gmean(ratios) * stats.sem(np.log(ratios)), rtol=1e-12)
    np.testing.assert_allclose(one.accuracy_gain, np.mean(ACCURACY[0, 1] - ACCURACY[0, 0]), rtol=1e-12)
    np.testing.assert_allclose(one.accuracy_gain_error, stats.sem(ACCURACY[0, 1] - ACCURACY[0, 0]), rtol=1e-12)
    assert (one.won, one.lost, one.paired) == (np.sum(ratios < 1), np.sum(ratios > 1), 6)
    # Pairing matters: the seeds of the baseline in another order give another error, and another count.
    shuffled = [r._replace(seed=5 - r.seed) if r[1:3] == BASELINE else r for r in RECORDS]
    other = find(summary.summarize(shuffled, BASELINE), 1, 0.3)
    assert other.kl_ratio_error != one.kl_ratio_error
    np.testing.assert_allclose(other.kl_ratio, one.kl_ratio, rtol=1e-13)


def test_the_baseline_is_even_with_itself():
    one = find(summary.summarize(RECORDS, BASELINE), 0, 0.1)
    assert (one.kl_ratio, one.kl_ratio_error, one.won, one.lost, one.paired) == (1, 0, 0, 0, 6)


def test_methods_come_as_they_were_measured_and_rates_in_order():
    found = [(one.scheme, one.objective, one.rate) for one in summary.summarize(RECORDS)]
    assert found == [(*method, rate) for method in METHODS for rate in (0.1, 0.3)]


def test_the_order_of_records_changes_no_number():
    found = summary.summarize(RECORDS, BASELINE)
    for one in summary.summarize(RECORDS[::-1], BASELINE):
        np.testing.assert_allclose(one[3:], next(o for o in found if o[:4] == one[:4])[3:], rtol=1e-12)


def test_only_shared_seeds_are_compared():
    some = [r for r in RECORDS if r[1:3] != BASELINE or r.seed < 4]
    one = find(summary.summarize(some, BASELINE), 2, 0.3)
    assert (one.seeds, one.paired) == (6, 4)
    np.testing.assert_allclose(one.kl_ratio, stats.gmean(KL[0, 2, :4] / KL[0, 0, :4]), rtol=1e-13)
    np.testing.assert_allclose(one.kl, KL[0, 2].mean(), rtol=1e-13)


def test_other_data_are_not_compared():
    other = [r._replace(data="mnist5k") for r in RECORDS if r[1:3] != BASELINE]
    found = summary.summarize([*RECORDS, *other], BASELINE)
    assert {one.paired for one in found if one.data == "mnist5k"} == {0}
    assert {one.paired for one in found if one.data == "digits"} == {6}


def test_one_seed_has_no_spread_and_zero_divergence_no_ratio():
    lone = [record(0, method, 0, kl=kl) for method, kl in enumerate([0.0, 0.0, 2.0])]
    found = summary.summarize(lone, BASELINE)
    assert all(math.isnan(one.kl_error) and math.isnan(one.kl_ratio_error) for one in found)
    assert math.isnan(found[1].kl_ratio)  # 0/0
    assert found[2].kl_ratio == math.inf
    assert (found[2].won, found[2].lost) == (0, 1)
    assert summary.summarize([]) == []


def test_a_baseline_that_was_not_measured_is_named(as_user):
    with pytest.raises(
        ValueError, match="got \\('prune', 'fisher'\\); there is obs jacobian, prune jacobian, prune mag"
    ):
        summary.summarize(RECORDS, ("prune", "fisher"))


def test_json_and_csv_hold_the_same_numbers():
    found = summary.summarize([*RECORDS, record(0, 1, 0, data="one, seed")], BASELINE)
    dictionaries = json.loads(json.dumps(summary.rows(found), allow_nan=False))
    lines = list(csv.DictReader(io.StringIO(summary.to_csv(found))))
    assert len(dictionaries) == len(lines) == 7
    for one, as_json, as_csv in zip(found, dictionaries, lines, strict=True):
        for name in summary.Summary._fields:
            value = getattr(one, name)
            if isinstance(value, float) and math.isnan(value):
                assert (as_json[name], as_csv[name]) == (None, "")
            else:
                assert as_json[name] == value
                assert type(value)(as_csv[name]) == value


def test_the_table_shows_means_errors_and_seeds_won():
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(summary.table(summary.summarize(RECORDS, BASELINE), "digits [0]"))
    text = console.export_text()
    one = find(summary.summarize(RECORDS, BASELINE), 1, 0.3)
    line = next(line for line in text.splitlines() if "jacobian" in line and "prune" in line and " 0.3 " in line)
    assert f"{one.won} of 6" in line
    assert "digits [0]" in text  # no markup
    shown = [float(part.split()[0]) for part in re.split(r"\s{2,}", line.strip())[3:8]]
    wanted = [one.bits_per_weight, 100 * one.accuracy, one.cross_entropy, one.kl, one.kl_ratio]
    np.testing.assert_allclose(shown, wanted, rtol=0.05)


def shown(summaries):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(summary.table(summaries))
    return console.export_text().splitlines()


def test_seeds_that_failed_are_counted_and_left_out_of_means_and_comparisons():
    broken = [r._replace(kl=math.nan) if r.seed == 2 and r[1:3] == METHODS[1] else r for r in RECORDS]
    broken = [r._replace(cross_entropy=math.nan) if r.seed == 5 and r[1:3] == BASELINE else r for r in broken]
    found = summary.summarize(broken, BASELINE)
    one, rest = find(found, 1, 0.3), np.array([0, 1, 3, 4, 5])
    assert (one.seeds, one.failed, one.paired) == (6, 1, 4)
    np.testing.assert_allclose(one.kl, KL[0, 1, rest].mean(), rtol=1e-13)
    np.testing.assert_allclose(one.accuracy, ACCURACY[0, 1, rest].mean(), rtol=1e-13)
    np.testing.assert_allclose(one.kl_ratio, stats.gmean(KL[0, 1, rest[:4]] / KL[0, 0, rest[:4]]), rtol=1e-13)
    assert find(found, 2, 0.3).failed == 0
    lines = shown(found)
    assert sum("1 of 6" in line for line in lines) == 4  # two methods at two rates
    assert any("failed" in line for line in lines)
    assert not any("failed" in line for line in shown(summary.summarize(RECORDS, BASELINE)))


def test_a_method_that_failed_with_every_seed_has_no_numbers():
    broken = [r._replace(kl=math.nan, accuracy=math.nan) if r[1:3] == METHODS[1] else r for r in RECORDS]
    found = summary.summarize(broken, BASELINE)
    one = find(found, 1, 0.3)
    assert (one.seeds, one.failed, one.paired) == (6, 6, 0)
    as_json = summary.rows([one])[0]
    assert all(as_json[name] is None for name in ("kl", "kl_error", "accuracy", "cross_entropy", "kl_ratio"))
    assert sum(line.count("failed") >= 3 and "6 of 6" in line for line in shown(found)) == 2


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.123456, 0.0123, "0.123 ± 0.012"),
        (97.6, 0.5, "97.60 ± 0.50"),
        (123.4, 56.7, "123 ± 57"),
        (5.0, 1234.0, "5 ± 1234"),
        (0.5, 0.0, "0.5"),
        (0.5, math.nan, "0.5"),
        (1e-9, 1e-10, "1e-09 ± 1.0e-10"),
    ],
)
def test_numbers_are_shown_to_two_digits_of_their_error(value, error, text):
    assert summary._with_error(value, error) == text
