"""Devices: what they are (profiles), what they sense (sensors), how the node gets on them (deploy)."""
