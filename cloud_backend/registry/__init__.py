"""The model registry: every version, where it came from, and which one is in production."""

from cloud_backend.registry.registry import Registry

__all__ = ["Registry"]
