"""The transaction: a group of messages is stored as a whole, and only then acked.

One transaction takes several batches of several nodes. In it the mark of each stream is read and judged
(`cloud_backend.ingest.sequence`), new events are inserted and counted, marks moved, projections run, refusals
kept. It depends on nothing that is remembered outside the database, so two clouds on one PostgreSQL, a
restart or a restored backup need no care.

The session that continued an epoch last holds it and is acked all of it. Any other session of the node (after
a restart, or another device with a copy of the data folder) is acked only as far as its batches agree with
what is stored: what follows may be another device's. Where they differ, the ack (``forked``) moves it to a
new epoch with what it has beyond that, so that nothing is lost or stored twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import structlog
from sqlalchemy import Connection, Engine

from cloud_backend.ingest import fleet, quarantine
from cloud_backend.ingest.clocks import NodeClocks
from cloud_backend.ingest.daily_counts import DailyCounts
from cloud_backend.ingest.epoch_holders import Claim, Claims, EpochHolders
from cloud_backend.ingest.event_table import EventTable, create_stream, move_marks, read_streams
from cloud_backend.ingest.forks import agreed_through
from cloud_backend.ingest.node_problems import Kind, NodeProblems
from cloud_backend.ingest.projections import Projections
from cloud_backend.ingest.quarantine import Refusal
from cloud_backend.ingest.received import Message, Projected, ReceivedBatch
from cloud_backend.ingest.reporters import Reporters
from cloud_backend.ingest.senders import from_nodes, keep_seen
from cloud_backend.ingest.sequence import Skip, judge
from cloud_backend.ingest.sessions import BatchSessions
from cloud_backend.ingest.transaction import NodeAck, StreamState, Transaction
from cloud_backend.store.engine import is_outage
from common.config.cloud import IngestSettings
from common.messages import Ack, Batch

_log = structlog.get_logger("edgeloop.ingest")
REFUSALS_OF_NODE = 20
"""Limit of one node's entries to quarantine in one transaction; more are only counted."""


class Committer:
    """Commits groups of messages. One thread uses it at a time."""

    def __init__(
        self,
        engine: Engine,
        projections: Projections,
        settings: IngestSettings,
        problems: NodeProblems | None = None,
    ) -> None:
        self._problems = problems or NodeProblems()
        self._sessions = BatchSessions()
        self._failures: Counter[str] = Counter()
        self._holders = EpochHolders()
        self._engine = engine
        self._projections = projections
        self._settings = settings
        self._tolerance_ns = round(settings.clock_tolerance_s * 1e9)
        self._clocks = NodeClocks(self._tolerance_ns)
        self._events = EventTable(engine.dialect.name)
        self._daily_counts = DailyCounts(engine.dialect.name)
        self._reporters = Reporters()
        self.counts: Counter[str] = Counter()
        """Events and batches by outcome since the start, for the status page."""

    def commit(self, group: Sequence[Message]) -> list[NodeAck]:
        """Store ``group``; the acks. Nothing is stored if it raises.

        Raises errors that `is_outage` is true for during an outage of the database: call again later. A batch
        that the database cannot take for a reason of its own is refused, the others of the group are stored.
        """
        try:
            done = self._transaction(group)
        except Exception as error:
            if is_outage(error):
                raise
            if len(group) > 1:
                return [ack for message in group for ack in self.commit([message])]
            only = group[0]
            if not isinstance(only, ReceivedBatch) or only.batch is None:
                raise
            reason = f"the database does not take it: {type(error).__name__}: {str(error)[:300]}"
            _log.warning("batch refused", node=only.node, error=str(error))
            return self.commit(
                [ReceivedBatch(only.site, only.node, only.payload, only.arrived_ns, None, reason)]
            )
        self.counts += done.counts
        self.counts["transactions"] += 1
        self._holders.keep(done.claims)
        return done.acks

    def take_failures(self) -> Counter[str]:
        """Failures of projections since the last call, by node."""
        failures, self._failures = self._failures, Counter()
        return failures

    def _transaction(self, group: Sequence[Message]) -> Transaction:
        with self._engine.begin() as connection:
            batches, statuses, counts = from_nodes(connection, group)
            keys = {(b.site, b.node, b.batch.head.epoch) for b, _ in batches if b.batch}
            streams = read_streams(connection, keys)
            work = Transaction(
                Projected(self._projections.app_of),
                {key: StreamState(*row) for key, row in streams.items()},
                Claims(self._holders),
                counts,
                max((received.arrived_ns for received, _ in batches), default=0),
            )
            if statuses:
                fleet.note_status(connection, statuses)
            for received, known_ns in batches:
                self._accept(connection, work, received, known_ns)
            self._store(connection, work)
            return work

    def _accept(
        self, connection: Connection, work: Transaction, received: ReceivedBatch, known_ns: int | None
    ) -> None:
        batch = received.batch
        if batch is None:
            work.note_seen(received, known_ns)
            work.refuse(received)
            return
        head = batch.head
        key = (received.site, received.node, head.epoch)
        claim = (*key, head.session)
        stream = work.streams.get(key)
        self._watch_sessions(received, batch)
        holds = work.claims.holder(key) == head.session
        if not holds and not self._agrees(connection, work, claim, stream, batch):
            self._ack_fork(work, received, batch, claim)
            return
        mark = stream.mark if stream else 0
        verdict = judge(mark, head)
        # A session continues an epoch once all that it still keeps of it agrees with what is stored.
        if isinstance(verdict, Skip) or (not holds and work.claims.proven(claim) < mark):
            # A repeat is no measurement of the node's clock: it may have been sent long ago.
            work.counts["batches_left"] += 1
            work.touch(claim, stream or StreamState(0, 0), head.turn)
            return
        seen = work.note_seen(received, known_ns)
        known_ns = (seen["offset_ms"] or 0) * 1_000_000 or known_ns
        offset_ns = self._clocks.offset_ns(received.node, head.sent_ns, received.arrived_ns, known_ns)
        seen["offset_ms"] = round(offset_ns / 1e6) if offset_ns else None
        if stream is None:
            number = create_stream(connection, key, received.arrived_ns)
            stream = work.streams[key] = StreamState(number, 0)
        work.claims.hold(claim, head.last)
        work.touch(claim, stream, head.turn)
        work.add_rows(received, stream, verdict, offset_ns=offset_ns, tolerance_ns=self._tolerance_ns)

    def _watch_sessions(self, received: ReceivedBatch, batch: Batch) -> None:
        if self._sessions.saw(received.node, batch.head.session, batch.head.turn, received.arrived_ns):
            detail = "two devices use this node's enrolment: a cloned card, or one enrolment used twice"
            self._problems.add(received.node, "identity_shared", detail, received.arrived_ns)

    def _agrees(
        self,
        connection: Connection,
        work: Transaction,
        claim: Claim,
        stream: StreamState | None,
        batch: Batch,
    ) -> bool:
        """Whether a batch of a session that does not hold its epoch is as stored; notes the agreed mark."""
        head = batch.head
        proven = max(work.claims.proven(claim), head.oldest - 1)
        agreed = wanted = 0
        if stream is not None and head.first <= stream.mark:
            self._events.insert(connection, work.values)
            work.values.clear()
            wanted = min(head.last, stream.mark)
            agreed = agreed_through(connection, stream.id, stream.mark, batch)
            if head.first <= proven + 1:
                proven = max(proven, agreed)
        work.claims.new_proven[claim] = proven
        return agreed == wanted

    def _ack_fork(self, work: Transaction, received: ReceivedBatch, batch: Batch, claim: Claim) -> None:
        head = batch.head
        work.counts["batches_forked"] += 1
        detail = f"two devices continued epoch {head.epoch} differently: its data folder was copied"
        self._problems.add(received.node, "forked", detail, received.arrived_ns)
        _log.warning("an epoch has two continuations", node=received.node, epoch=head.epoch, first=head.first)
        mark = work.claims.new_proven[claim]
        ack = Ack(head.epoch, mark, session=head.session, turn=head.turn, forked=True, shared=True)
        work.acks.append(NodeAck(received.site, received.node, ack))

    def _store(self, connection: Connection, work: Transaction) -> None:
        self._events.insert(connection, work.values)
        move_marks(connection, {stream.id: stream.mark for stream, _ in work.touched.values() if stream.id})
        keep_seen(connection, work.seen.values())
        self._daily_counts.keep(connection, work.tally)
        self._reporters.keep(connection, work.subjects)
        unprojected = self._projections.run(connection, work.projected, self._settings.projection_failures)
        self._failures.update(refusal.node for refusal in unprojected)
        work.counts["unprojected"] += sum(refusal.unprojected for refusal in unprojected)
        work.refusals += unprojected
        work.counts["quarantine_dropped"] += quarantine.keep(
            connection,
            self._some_of_each_node(work.refusals),
            rows_limit=self._settings.quarantine_rows,
            bytes_limit=self._settings.quarantine_bytes,
        )
        for claim, (stream, turn) in work.touched.items():
            site, node, epoch, session = claim
            mark = stream.mark
            if work.claims.holder((site, node, epoch)) != session:
                mark = min(mark, work.claims.new_proven[claim])
            shared = self._sessions.is_shared(node, work.arrived_ns)
            work.acks.append(NodeAck(site, node, Ack(epoch, mark, session=session, turn=turn, shared=shared)))

    def _some_of_each_node(self, refusals: Sequence[Refusal]) -> list[Refusal]:
        """Entries for quarantine; a node cannot displace all that is there about others."""
        kept: list[Refusal] = []
        counts: Counter[str] = Counter()
        for refusal in refusals:
            counts[refusal.node] += 1
            if counts[refusal.node] <= REFUSALS_OF_NODE:
                kept.append(refusal)
            kind: Kind = "unprojected" if refusal.unprojected else "refused"
            self._problems.add(
                refusal.node, kind, refusal.reason, refusal.received_ns, max(1, refusal.unprojected)
            )
        return kept
