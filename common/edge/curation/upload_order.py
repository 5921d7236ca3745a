"""The order in which kept samples are uploaded. No I/O.

Rules:

- The most interesting that the budget allows is next; of equal ones the oldest.
- A sample that the cloud does not take yet is deferred: others go first, longer after each attempt, from
  `DEFER_FIRST_S` to `DEFER_LAST_S`.
- A sample that the cloud has taken or refused is answered: it is not sent again, though it stays in the store
  until its event is committed.

The state is bounded by the store: what it no longer holds is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Container, Iterable

from common.backoff import Backoff
from common.edge.curation.upload import Kept

DEFER_FIRST_S = 2.0
DEFER_LAST_S = 600.0
"""First and longest time for which a sample that the cloud does not take yet lets others go first."""


class UploadOrder:
    """Of the samples of one store. The caller holds a lock around each call; ``now_s`` is monotonic."""

    def __init__(self) -> None:
        self._answered: set[str] = set()
        self._deferred: dict[str, tuple[float, Backoff]] = {}

    @property
    def answered(self) -> Collection[str]:
        """Digests of samples that the cloud has taken or refused."""
        return self._answered

    @property
    def deferring(self) -> bool:
        """Whether a sample was deferred that is still in the store."""
        return bool(self._deferred)

    def next(self, samples: Iterable[Kept], left_bytes: int, now_s: float) -> Kept | None:
        """The sample to send now with ``left_bytes`` of the budget; None where none may go."""
        fitting = (
            kept
            for kept in samples
            if kept.digest not in self._answered
            and kept.size <= left_bytes
            and (kept.digest not in self._deferred or self._deferred[kept.digest][0] <= now_s)
        )
        return max(fitting, key=lambda kept: (kept.score, -kept.captured_ns), default=None)

    def defer(self, digest: str, now_s: float) -> None:
        """Let other samples go first, longer each time."""
        _, backoff = self._deferred.get(digest, (0.0, Backoff(DEFER_FIRST_S, DEFER_LAST_S)))
        self._deferred[digest] = (now_s + backoff.next_s(), backoff)

    def next_due_s(self, now_s: float) -> float:
        """Time until a deferred sample may go again; infinite where none waits."""
        return min((due_s - now_s for due_s, _ in self._deferred.values() if due_s > now_s), default=math.inf)

    def answer(self, digest: str) -> None:
        """The cloud has taken or refused a sample."""
        self._answered.add(digest)

    def forget(self, digest: str) -> None:
        """A sample was removed from the store."""
        self._deferred.pop(digest, None)
        self._answered.discard(digest)

    def keep_only(self, store: Container[str]) -> None:
        """Forget the deferred samples that ``store`` does not hold: others took their room."""
        self._deferred = {digest: each for digest, each in self._deferred.items() if digest in store}
