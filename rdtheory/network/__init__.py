"""A whole network beside its limits: what formats in use and our code take and lose, and how low one could go.

`report` makes the table; `write` puts it into a folder as a page, JSON and CSV. `prior` and `limit` are for one layer.
"""

from rdtheory.network.comparison import report
from rdtheory.network.gaussian_prior import limit, prior
from rdtheory.network.writing import write

__all__ = ["limit", "prior", "report", "write"]
