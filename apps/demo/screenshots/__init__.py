"""Screenshots of the shows and of every page for ``docs``."""
