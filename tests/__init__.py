import pytest


def long(*values):
    """A parameter set that is only run with --long."""
    return pytest.param(*values, marks=pytest.mark.long)
