"""The content of one transaction of ingest, gathered before it is written. No I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from cloud_backend.ingest.daily_counts import Tally
from cloud_backend.ingest.epoch_holders import Claim, Claims
from cloud_backend.ingest.event_table import StreamKey
from cloud_backend.ingest.quarantine import Refusal
from cloud_backend.ingest.received import COLUMNS, Projected, ReceivedBatch, make_rows
from cloud_backend.ingest.sequence import Accept, above
from common.messages import GAP_TYPE, Ack, Gap, Priority

_log = structlog.get_logger("edgeloop.ingest")
_TYPE, _BODY = COLUMNS.index("type"), COLUMNS.index("body")
_SUBJECT = COLUMNS.index("subject")
LOST_BY_CLOUD = "lost_by_cloud"
"""Reason of the gap for events that this cloud had acked and has lost since."""


@dataclass(frozen=True, slots=True)
class NodeAck:
    """An ack for one node."""

    site: str
    node: str
    ack: Ack


@dataclass(slots=True)
class StreamState:
    """One row of the stream table during a transaction; ``id`` is 0 for none."""

    id: int
    mark: int


@dataclass(slots=True)
class Transaction:
    """Rows, acks and counters of one transaction."""

    projected: Projected
    streams: dict[StreamKey, StreamState]
    claims: Claims
    counts: Counter[str]
    arrived_ns: int
    """Arrival of the newest batch."""
    touched: dict[Claim, tuple[StreamState, int]] = field(default_factory=dict)
    """Streams to ack by session, with its last turn."""
    values: list[Any] = field(default_factory=list)
    """Rows of the event table that are not inserted yet."""
    refusals: list[Refusal] = field(default_factory=list)
    acks: list[NodeAck] = field(default_factory=list)
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    subjects: dict[str, set[str]] = field(default_factory=dict)

    def refuse(self, received: ReceivedBatch) -> None:
        """Put an unreadable batch into quarantine and notify its node."""
        self.counts["batches_refused"] += 1
        self.refusals.append(
            Refusal(received.site, received.node, received.payload, received.reason, received.arrived_ns)
        )
        ack = Ack("", 0, refused_digest=received.digest, refused_reason=received.reason[:300])
        self.acks.append(NodeAck(received.site, received.node, ack))

    def note_seen(self, received: ReceivedBatch, known_ns: int | None) -> dict[str, Any]:
        """The change of a node's row: when it was last seen, and the error of its clock."""
        seen = self.seen.setdefault(received.node, {"node": received.node, "seen_ns": 0})
        seen["seen_ns"] = max(seen["seen_ns"], received.arrived_ns)
        seen.setdefault("offset_ms", round((known_ns or 0) / 1e6) or None)
        return seen

    def touch(self, claim: Claim, stream: StreamState, turn: int) -> None:
        """Ack ``stream`` to a session at the end."""
        _, earlier = self.touched.get(claim, (None, 0))
        self.touched[claim] = stream, max(earlier, turn)

    def add_rows(
        self,
        received: ReceivedBatch,
        stream: StreamState,
        verdict: Accept,
        *,
        offset_ns: int,
        tolerance_ns: int,
    ) -> None:
        """Add the events of a batch above ``verdict.after``, and a gap for what is lost before them."""
        batch = received.batch
        assert batch is not None
        if verdict.lost_from:
            gap = Gap(verdict.after, LOST_BY_CLOUD, {})
            row = (stream.id, verdict.lost_from, GAP_TYPE, "", received.arrived_ns, received.arrived_ns)
            self.values.extend((*row, int(Priority.EVENT), None, None, msgspec.json.encode(gap).decode()))
            self.counts["lost_by_cloud"] += verdict.after - verdict.lost_from + 1
            _log.warning(
                "events lost by this cloud",
                node=received.node,
                first=verdict.lost_from,
                through=verdict.after,
            )
        rows = make_rows(
            above(batch.events, verdict.after),
            received=received,
            stream_id=stream.id,
            offset_ns=offset_ns,
            tolerance_ns=tolerance_ns,
            projected=self.projected,
        )
        self.values += rows.values
        types, bodies = rows.values[_TYPE :: len(COLUMNS)], rows.values[_BODY :: len(COLUMNS)]
        self.tally.add(received.node, received.arrived_ns, types, bodies)
        self.subjects.setdefault(received.node, set()).update(rows.values[_SUBJECT :: len(COLUMNS)])
        malformed = batch.malformed + rows.malformed
        self.counts["events"] += len(rows.values) // len(COLUMNS)
        self.counts["malformed"] += len(malformed)
        self.refusals += [
            Refusal(received.site, received.node, m.body, m.reason, received.arrived_ns) for m in malformed
        ]
        stream.mark = batch.head.last
        self.counts["batches"] += 1
