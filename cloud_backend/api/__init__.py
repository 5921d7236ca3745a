"""The REST API. Every route but ``GET /healthz`` needs a bearer token."""

from cloud_backend.api.application import create_api

__all__ = ["create_api"]
