"""Sessions of nodes (`common.messages`): the newest of each, and whether two alternate. No I/O.

A node that restarts begins a new session and never comes back to the one before. So a new message of
an earlier session is another device under the same identity.
What is known is bounded, and forgotten when the cloud restarts; then it shows again with the next turn.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from cloud_backend.ingest.received import ReceivedStatus

SESSIONS_LIMIT = 8
"""Limit of remembered sessions of a node."""
NODES_LIMIT = 20_000
SHARED_NS = 600 * 1_000_000_000
"""Time for which a node counts as shared after its sessions alternated."""


class BatchSessions:
    """The sessions that sent batches, with the highest turn of each; the newest session is the last."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, OrderedDict[str, int]] = OrderedDict()
        self._shared_until_ns: dict[str, int] = {}

    def saw(self, node: str, session: str, turn: int, now_ns: int) -> bool:
        """Record a batch; whether it shows that two devices alternate."""
        turns = self._turns.setdefault(node, OrderedDict())
        self._turns.move_to_end(node)
        if len(self._turns) > NODES_LIMIT:
            gone, _ = self._turns.popitem(last=False)
            self._shared_until_ns.pop(gone, None)
        known = turns.get(session)
        if known is not None and turn <= known:
            return False  # It was sent before: a delivery that came twice, or somebody sends it again.
        came_back = known is not None and next(reversed(turns)) != session
        turns[session] = turn
        turns.move_to_end(session)
        if len(turns) > SESSIONS_LIMIT:
            turns.popitem(last=False)
        if came_back:
            self._shared_until_ns[node] = now_ns + SHARED_NS
        return came_back

    def is_shared(self, node: str, now_ns: int) -> bool:
        """Whether sessions of ``node`` alternated lately."""
        return now_ns < self._shared_until_ns.get(node, 0)


class StatusSessions:
    """The sessions in the status messages of nodes. Any thread may call."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[tuple[str, str], list[str]] = OrderedDict()
        self._number = 0
        self._lock = threading.Lock()

    def is_current(self, arrival: ReceivedStatus) -> bool:
        """Whether a status is of the newest session, or begins one.

        The last will of a session before, and a status that somebody sends again, are neither.
        """
        session = arrival.status.session
        with self._lock:
            known = self._sessions.setdefault((arrival.site, arrival.node), [])
            self._sessions.move_to_end((arrival.site, arrival.node))
            if len(self._sessions) > NODES_LIMIT:
                self._sessions.popitem(last=False)
            if session in known[:-1]:
                return False
            if known[-1:] != [session]:
                known.append(session)
                del known[:-SESSIONS_LIMIT]
            return True

    def newest(self, site: str, node: str) -> str:
        """The session that a hint is for; empty where none is known."""
        with self._lock:
            return (self._sessions.get((site, node)) or [""])[-1]

    def number(self, now_ns: int) -> int:
        """A number above all before, across restarts as far as the clock goes forward."""
        with self._lock:
            self._number = max(self._number + 1, now_ns)
            return self._number
