"""The virtual sensor, with its own ground truth."""
