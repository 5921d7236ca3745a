"""Curation: samples to learn from, kept and uploaded under byte budgets."""
