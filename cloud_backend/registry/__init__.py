"""The model registry: every version, where it came from, and which one is in production."""
