"""The table of published numbers, of which parts are computed anew."""

import csv

import pytest

from benchmarks import published
from benchmarks.published import Row


@pytest.fixture(scope="module")
def table():
    with published.OUT.open(newline="") as file:
        return {(row["source"], row["what"]): row for row in csv.DictReader(file)}


def interval(row):
    return tuple(float(end) for end in row["proved"].split(" to "))


def test_rates_and_critical_slopes_are_in_the_table(table):
    rows = published.rates() + published.critical_slopes()
    assert len(rows) == 6
    for row in rows:
        written = table[row.source, row.quantity]
        low, high = interval(written)
        assert max(low, row.low) <= min(high, row.high)
        assert high - low < 30 * (row.high - row.low)
        assert float(written["printed"]) == row.printed and written["remark"] == row.remark != "holds"


def test_remarks_compare_with_the_digits_that_were_printed():
    assert Row("", "", 0.12, 0.01, 0.1191, 0.1192).remark == "holds"
    assert Row("", "", 0.12, 0.01, 0.1149, 0.1152).remark == "holds but for the last digit"
    assert Row("", "", 0.12, 0.01, 0.131, 0.132).remark == "off by 0.011"
    assert Row("s", "w", 0.12, 0.01, 0.11912, 0.11918).cells() == ["s", "w", "0.12", "0.119120 to 0.119180", "holds"]
