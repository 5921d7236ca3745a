"""Waits between connections to the broker, and the suspicion behind several short ones. No I/O."""

from __future__ import annotations

from random import Random

from common.backoff import Backoff
from common.config.node import UplinkSettings

STEADY_S = 10.0
"""Duration from which a connection was a good one: the next wait is short again."""
SHORT_CONNECTIONS = 3
"""Connections in a row that ended sooner, which are worth a report."""


class Reconnection:
    """Of one uplink."""

    def __init__(self, settings: UplinkSettings, rng: Random) -> None:
        self._backoff = Backoff(settings.reconnect_min_s, settings.reconnect_max_s, rng)
        self._short = 0

    def ended(self, lasted_s: float | None) -> str:
        """A connection ended after ``lasted_s``; None for one that never became ready.

        Returns the problem to report; empty if there is none.
        """
        if lasted_s is None:
            return ""
        if lasted_s >= STEADY_S:
            self._short = 0
            self._backoff.reset()
            return ""
        self._short += 1
        if self._short < SHORT_CONNECTIONS:
            return ""
        return (
            f"the broker ended {self._short} connections in a row within {STEADY_S:.0f} s: another client "
            "uses this node's identity, or the broker or the network fails"
        )

    def wait_s(self) -> float:
        """The wait before the next connection."""
        return self._backoff.next_s()
