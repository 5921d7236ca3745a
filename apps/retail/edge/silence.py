"""Silence: which cameras have stopped giving frames.

`SilenceWatch` counts the time by the clock of each participant for itself, at most `STEP_S` between two of
its signs of life, so that one wrong clock silences nobody. The app has two: one by the capture times of the
cameras, with which replayed frames give the same result, and one by the node's time, which goes on where no
camera gives frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STEP_S = 1.0


class SilenceWatch:
    """Elapsed time since the last sign of life of each participant."""

    def __init__(self) -> None:
        self._elapsed_ns = 0
        self._clocks: dict[str, tuple[int, int]] = {}

    def seen(self, camera: str, captured_ns: int) -> None:
        """A sign of life at this time on the participant's clock."""
        last_ns, seen_ns = self._clocks.get(camera, (captured_ns, self._elapsed_ns))
        step_ns = min(max(0, captured_ns - last_ns), round(STEP_S * 1e9))
        self._elapsed_ns = max(self._elapsed_ns, seen_ns + step_ns)
        self._clocks[camera] = captured_ns, self._elapsed_ns

    def silent(self, limit_s: float) -> list[tuple[str, int]]:
        """Cameras without a frame for ``limit_s``, with the nanoseconds since the last one of each."""
        return [
            (camera, self._elapsed_ns - seen_ns)
            for camera, (_, seen_ns) in self._clocks.items()
            if self._elapsed_ns - seen_ns >= limit_s * 1e9
        ]

    def forget(self, camera: str) -> None:
        """Follow a camera no more."""
        self._clocks.pop(camera, None)

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {"elapsed_ns": self._elapsed_ns, "clocks": {k: list(v) for k, v in self._clocks.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`."""
        self._elapsed_ns = int(state["elapsed_ns"])
        self._clocks = {name: (int(a), int(b)) for name, (a, b) in state["clocks"].items()}
