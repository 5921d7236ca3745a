"""``edgeloop bench``: measurements with real processes, each a ratio within one run."""
