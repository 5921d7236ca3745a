"""Lifetimes of TUF metadata: the expiry of a new version, and the time of its renewal (half its life)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from common.clock import Clock

LIFE: Mapping[str, timedelta] = MappingProxyType(
    {"root": timedelta(days=365), "targets": timedelta(days=180), "snapshot": timedelta(days=30)}
)
APP_LIFE = timedelta(days=180)
"""Lifetime of the metadata of an app's role."""


class Lifetimes:
    """Lifetimes by role; that of the timestamp is ``timestamp_validity_s`` seconds."""

    def __init__(self, clock: Clock, timestamp_validity_s: float) -> None:
        self._clock = clock
        self._life = {**LIFE, "timestamp": timedelta(seconds=timestamp_validity_s)}

    def now(self) -> datetime:
        """The present time (UTC)."""
        return datetime.fromtimestamp(self._clock() / 1e9, UTC)

    def expiry(self, role: str) -> datetime:
        """Expiry of a version of ``role`` that is signed now."""
        return self.now() + self._life.get(role, APP_LIFE)

    def is_due(self, role: str, expires: datetime) -> bool:
        """Whether metadata of ``role`` has lived half of its life."""
        return expires - self.now() <= self._life.get(role, APP_LIFE) / 2
