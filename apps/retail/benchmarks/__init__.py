"""The figures of the retail app's README."""
