"""Compressing trained networks by every objective, at every rate, for many seeds: measurements and their summary."""
