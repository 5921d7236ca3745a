"""The part on the node."""
