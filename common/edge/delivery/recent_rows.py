"""The newest commits in memory, so that rows sent at once need not be read from the file. No I/O.

Bounded by `RECENT_BYTES`. One thread at a time changes it (the outbox's lock); any thread may read.
"""

from __future__ import annotations

from typing import NamedTuple

RECENT_BYTES = 4 * 1024 * 1024
"""Maximum bytes of events in memory."""


class Pending(NamedTuple):
    """A row to send: an event (``seq == last_seq``) or a gap from ``seq`` to ``last_seq``."""

    seq: int
    last_seq: int
    body: bytes


class _Commit(NamedTuple):
    """Bodies of one commit, as they lie in the file, from seq ``first`` on."""

    first: int
    bodies: list[bytes]
    size_bytes: int


class RecentRows:
    """Bodies of the newest commits."""

    def __init__(self) -> None:
        self._commits: tuple[_Commit, ...] = ()

    def add(self, first: int, bodies: list[bytes], size_bytes: int) -> None:
        """Keep a commit; the oldest go beyond `RECENT_BYTES`."""
        new = _Commit(first, bodies, size_bytes)
        if new.size_bytes > RECENT_BYTES:
            self._commits = ()
            return
        kept, size = [new], new.size_bytes
        for old in reversed(self._commits):
            size += old.size_bytes
            if size > RECENT_BYTES:
                break
            kept.insert(0, old)
        self._commits = tuple(kept)

    def clear(self) -> None:
        """Forget all: rows of the file change."""
        self._commits = ()

    def forget(self, mark: int) -> None:
        """Forget what is acked up to ``mark``."""
        self._commits = tuple(
            _Commit(max(commit.first, mark + 1), commit.bodies[passed:], commit.size_bytes)
            for commit in self._commits
            if (passed := max(0, mark + 1 - commit.first)) < len(commit.bodies)
        )

    def rows(self, seq: int, limit: int, max_bytes: int) -> list[Pending]:
        """Rows from ``seq`` on: at most ``limit``, and ``max_bytes`` unless the first is larger.

        Empty where ``seq`` is not in memory.
        """
        bodies: list[bytes] = []
        after = seq
        for commit in self._commits:
            if commit.first <= after < commit.first + len(commit.bodies):
                start = after - commit.first
                some = commit.bodies[start : start + limit - len(bodies)]
                bodies += some
                after += len(some)
        while len(bodies) > 1 and sum(map(len, bodies)) > max_bytes:
            bodies = bodies[: len(bodies) // 2]
        return [Pending(place, place, body) for place, body in enumerate(bodies, seq)]
