"""The byte budget of uploads: at most so many bytes in any 24 h, counted across restarts."""

from __future__ import annotations

import logging
from collections import deque
from pathlib import Path

import msgspec

from common import durable

log = logging.getLogger(__name__)

DAY_NS = 86_400_000_000_000
SLOT_NS = 600_000_000_000
"""Resolution of the rolling budget."""


class Allowance:
    """Bytes in any 24 h, by slots of ten minutes. No I/O."""

    def __init__(self, bytes_per_day: int, spent: list[tuple[int, int]] | None = None) -> None:
        self._bytes_per_day = bytes_per_day
        self._spent: deque[tuple[int, int]] = deque(spent or [])

    def left(self, now_ns: int) -> int:
        """Bytes that may be sent now."""
        while self._spent and self._spent[0][0] <= now_ns - DAY_NS:
            self._spent.popleft()
        return self._bytes_per_day - sum(size for _, size in self._spent)

    def spend(self, now_ns: int, size: int) -> None:
        """Count bytes that were sent."""
        slot = now_ns - now_ns % SLOT_NS
        if self._spent and self._spent[-1][0] >= slot:
            at, before = self._spent.pop()
            self._spent.append((at, before + size))
        else:
            self._spent.append((slot, size))

    def spent(self) -> list[tuple[int, int]]:
        """``(time_ns, bytes)`` of the last day, for keeping."""
        return list(self._spent)


def load_allowance(path: Path, bytes_per_day: int, now_ns: int) -> Allowance:
    """The allowance kept in ``path``. If that is damaged, the day's budget counts as spent."""
    try:
        spent = msgspec.json.decode(path.read_bytes(), type=list[tuple[int, int]])
    except FileNotFoundError:
        spent = []
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("the count of uploaded bytes is lost (%s): the day's budget counts as spent", error)
        spent = [(now_ns, bytes_per_day)]
    return Allowance(bytes_per_day, spent)


def save_allowance(path: Path, spent: list[tuple[int, int]]) -> None:
    """Keep `Allowance.spent` in ``path``. Raises ``OSError``."""
    durable.write(path, msgspec.json.encode(spent))
