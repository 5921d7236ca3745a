"""Stories of the shows: chapters of checked steps, their player and narrators."""
