"""Real weights to a file and back: ``rdtheory compress`` and ``rdtheory decompress``."""
