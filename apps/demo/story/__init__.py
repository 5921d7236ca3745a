"""The story of the show: chapters of checked steps, the player and the narrators."""
