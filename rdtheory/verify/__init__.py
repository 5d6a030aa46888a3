"""Each theorem as a numerical check with its error bar."""
