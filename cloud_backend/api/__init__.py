"""The REST API: every route but ``GET /healthz`` needs the bearer token."""

from cloud_backend.api.application import create_api

__all__ = ["create_api"]
