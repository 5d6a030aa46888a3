import matplotlib as mpl
import pytest

mpl.use("agg")


@pytest.fixture
def ax():
    figure, ax = mpl.pyplot.subplots()
    yield ax
    mpl.pyplot.close(figure)
