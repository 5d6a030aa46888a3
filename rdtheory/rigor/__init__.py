"""Proofs."""

from rdtheory.rigor.discrete import enclose, rate_at
from rdtheory.rigor.enclosure import Enclosure, decimal

__all__ = ["Enclosure", "decimal", "enclose", "rate_at"]
