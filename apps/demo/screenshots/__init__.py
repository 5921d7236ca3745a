"""Pictures of the show and of every page for ``docs``."""
