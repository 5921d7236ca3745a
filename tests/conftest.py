"""What all tests share: one PostgreSQL server for the session."""

from __future__ import annotations

from tests.postgres import postgres

__all__ = ["postgres"]
