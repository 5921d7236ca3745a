"""A clock that is set by hand."""

from __future__ import annotations

S = 1_000_000_000
"""Nanoseconds in a second."""


class HandClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000 * S

    def __call__(self) -> int:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += int(seconds * S)
