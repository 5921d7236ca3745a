"""One-time tickets: each signs its bearer in under its name, once, within two minutes.

They live in memory only, at most `TICKETS` of them (the oldest gives way), as digests.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict

from common.clock import Clock

LIFE_S = 120
TICKETS = 1000


class Tickets:
    """The tickets of one cloud."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: OrderedDict[bytes, tuple[str, int]] = OrderedDict()  # the oldest first

    def __len__(self) -> int:
        return len(self._waiting)

    def make(self, name: str) -> str:
        """A ticket for ``name``."""
        ticket = secrets.token_urlsafe(32)
        now = self._clock()
        with self._lock:
            self._waiting[_digest(ticket)] = (name, now + LIFE_S * 1_000_000_000)
            while len(self._waiting) > TICKETS or next(iter(self._waiting.values()))[1] <= now:
                self._waiting.popitem(last=False)
        return ticket

    def take(self, ticket: str) -> str | None:
        """The name on a ticket, which is used up; None for an unknown, used or expired one."""
        with self._lock:
            name, ends_ns = self._waiting.pop(_digest(ticket), ("", 0))
        return name if self._clock() < ends_ns else None


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).digest()
