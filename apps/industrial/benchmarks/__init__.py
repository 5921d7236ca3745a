"""Measurements behind the figures of the README."""
