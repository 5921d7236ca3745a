"""Disk wear by a node: bytes that this process had written, as a rate. Flash memory wears by it."""

from __future__ import annotations

from collections import deque
from pathlib import Path

WINDOW_S = 3600.0
MIN_SPAN_S = 60.0
"""Time after which a rate is meaningful."""
DAY_S = 86_400.0


class DiskWear:
    """The rate of writing over the last hour, from samples of the count. No I/O."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque()

    def add(self, now_s: float, written_bytes: int | None) -> None:
        """The count at ``now_s`` of a steady clock; None where the system does not count."""
        if written_bytes is None:
            return
        if not self._looks or now_s - self._looks[-1][0] >= 1.0:
            self._looks.append((now_s, written_bytes))
        while now_s - self._looks[0][0] > WINDOW_S and len(self._looks) > 2:
            self._looks.popleft()

    @property
    def bytes_per_day(self) -> int | None:
        """None while it is not known."""
        if len(self._looks) < 2:
            return None
        (first_s, first), (last_s, last) = self._looks[0], self._looks[-1]
        return round((last - first) / (last_s - first_s) * DAY_S) if last_s - first_s >= MIN_SPAN_S else None


def written_bytes(process: str | int = "self") -> int | None:
    """Bytes that a process had the system write to disk since its start; None without Linux's count."""
    try:
        lines = Path(f"/proc/{process}/io").read_text("ascii").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("write_bytes:")))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
