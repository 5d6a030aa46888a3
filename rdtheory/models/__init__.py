"""From a network to its weights."""
