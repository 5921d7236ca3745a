"""Decisions at the machine: features, knowledge and decisions."""
