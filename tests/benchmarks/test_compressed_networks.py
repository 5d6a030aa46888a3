"""The short version of benchmarks/compressed_networks.py: one seed."""

import pytest

from benchmarks import compressed_networks

REQUIRED = 11


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return compressed_networks.requirements(1, tmp_path_factory.mktemp("digits") / "results.jsonl")


@pytest.mark.long
@pytest.mark.parametrize("line", range(REQUIRED))
def test_required_of_compressed_networks(found, line):
    assert len(found) == REQUIRED
    assert found[line].met, found[line]


def test_a_requirement_that_is_missed_says_so():
    assert not compressed_networks.at_least("gain", 5, [4.0, 5.5]).met
    assert not compressed_networks.at_most("ratio", 0.5, [0.4, 0.7]).met
    assert compressed_networks.at_most("ratio", 0.5, [0.4, 0.6], " bit").measured == "0.5 ± 0.1 bit"
