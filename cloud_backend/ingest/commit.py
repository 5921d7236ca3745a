"""The transaction: what arrived goes into the store whole, and only then is acked.

One transaction takes several batches of several nodes. In it: the mark of each stream is read and
judged (`cloud_backend.ingest.sequence`), new events are inserted and counted, marks moved, projections run,
refusals kept. Nothing that it depends on is remembered outside the database, so two clouds on one
PostgreSQL, a restart or a restored backup need no care.

The session that continued an epoch last holds it and is acked all of it. Any other session of the node (after
a restart, or another device with a copy of the data folder) is acked only as far as its batches agree with
what is stored: what follows may be another device's. Where they differ it is told to leave the epoch with
what it has beyond that, so that nothing is lost or stored twice.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Engine, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from cloud_backend.ingest import fleet, quarantine
from cloud_backend.ingest.clocks import NodeClocks
from cloud_backend.ingest.daily_counts import Tally, Volumes
from cloud_backend.ingest.forks import agreed_through
from cloud_backend.ingest.node_problems import Kind, NodeProblems
from cloud_backend.ingest.projections import Projections
from cloud_backend.ingest.quarantine import Refusal
from cloud_backend.ingest.received import (
    COLUMNS,
    Arrival,
    Message,
    Projected,
    Reconnected,
    StatusArrival,
    make_rows,
)
from cloud_backend.ingest.reporters import Reporters
from cloud_backend.ingest.sequence import Leave, Take, above, judge
from cloud_backend.ingest.sessions import BatchSessions
from cloud_backend.store.engine import is_outage
from cloud_backend.store.tables import Node, StoredEvent, Stream
from common.config.cloud import IngestSettings
from common.messages import GAP_TYPE, Ack, Batch, Gap, Malformed, Priority

_log = structlog.get_logger("edgeloop.ingest")
ROWS_PER_STATEMENT = 100
"""Rows in one INSERT: enough to spread the cost of a statement, and within SQLite's limit of parameters."""
_TYPE, _BODY = COLUMNS.index("type"), COLUMNS.index("body")
_SUBJECT = COLUMNS.index("subject")
HOLDERS_LIMIT = 20_000
"""Most streams whose sessions are remembered; of any other, what is sent again is compared once more."""
REFUSALS_OF_NODE = 20
"""Most things of one node that one transaction puts into quarantine; more are only counted."""
LOST_BY_CLOUD = "lost_by_cloud"
"""Reason of the gap for events that this cloud had acked and has lost since."""

# Built once: making a statement anew costs more than running it.
_node, _stream = Node.__table__.c, Stream.__table__.c  # type: ignore[attr-defined]
_NODES = select(_node.name, _node.site, _node.last_seen_ns, _node.clock_offset_ms).where(
    _node.name.in_(bindparam("names", expanding=True)), _node.retired_ns == 0
)
_STREAMS = (
    select(_stream.site, _stream.node, _stream.epoch, _stream.id, _stream.high_water_mark)
    .where(_stream.node.in_(bindparam("names", expanding=True)))
    .where(_stream.epoch.in_(bindparam("epochs", expanding=True)))
    .with_for_update()
)
_MOVE_MARK = (
    update(Stream.__table__)  # type: ignore[attr-defined]
    .where(_stream.id == bindparam("number"))
    .values(high_water_mark=bindparam("mark"))
)
_NOTE_SEEN = (
    update(Node.__table__)  # type: ignore[attr-defined]
    .where(_node.name == bindparam("node"))
    .values(last_seen_ns=bindparam("seen_ns"), clock_offset_ms=bindparam("offset_ms"))
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An ack for one node."""

    site: str
    node: str
    ack: Ack


@dataclass(slots=True)
class _Stream:
    """One row of the stream table during a transaction."""

    id: int
    mark: int


@dataclass(slots=True)
class _Work:
    """What one transaction gathers."""

    projected: Projected
    streams: dict[tuple[str, str, str], _Stream]
    touched: dict[tuple[str, str, str, str], tuple[_Stream, int]] = field(default_factory=dict)
    """What is to be acked: site, node, epoch and session, with the last turn."""
    holders: dict[tuple[str, str, str], str] = field(default_factory=dict)
    proven: dict[tuple[str, str, str, str], int] = field(default_factory=dict)
    values: list[Any] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    arrived_ns: int = 0
    tally: Tally = field(default_factory=Tally)
    subjects: dict[str, set[str]] = field(default_factory=dict)


class Committer:
    """Commits what arrived. One thread uses it at a time."""

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
        self._holders: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        self._proven: OrderedDict[tuple[str, str, str, str], int] = OrderedDict()
        self._engine = engine
        self._projections = projections
        self._settings = settings
        self._tolerance_ns = round(settings.clock_tolerance_s * 1e9)
        self._clocks = NodeClocks(self._tolerance_ns)
        self._insert = _insert_statement(engine.dialect.name)
        self._volumes = Volumes(engine.dialect.name)
        self._reporters = Reporters()
        self.counts: Counter[str] = Counter()
        """Events, batches and what became of them since the start, for the status page."""

    def commit(self, group: Sequence[Message]) -> list[Answer]:
        """Store ``group`` and tell what to ack. Nothing is stored if it raises.

        Raises what `is_outage` is true for, when the database is unwell: call again later. A batch that
        the database cannot take for a reason of its own is refused, the others of the group are stored.
        """
        try:
            work = self._transaction(group)
        except Exception as error:
            if is_outage(error):
                raise
            if len(group) > 1:
                return [answer for message in group for answer in self.commit([message])]
            if not isinstance(group[0], Arrival) or group[0].batch is None:
                raise
            reason = f"the database does not take it: {type(error).__name__}: {str(error)[:300]}"
            _log.warning("batch refused", node=group[0].node, error=str(error))
            refused = Arrival(
                group[0].site, group[0].node, group[0].payload, group[0].arrived_ns, None, reason
            )
            return self.commit([refused])
        self.counts += work.counts
        self.counts["transactions"] += 1
        self._holders |= work.holders
        self._proven |= work.proven
        for remembered in (self._holders, self._proven):
            while len(remembered) > HOLDERS_LIMIT:
                remembered.popitem(last=False)
        return work.answers

    def _transaction(self, group: Sequence[Message]) -> _Work:
        with self._engine.begin() as connection:
            arrivals, statuses, counts = self._of_known_nodes(connection, group)
            work = _Work(
                Projected(self._projections.app_of), self._read_streams(connection, arrivals), counts=counts
            )
            if statuses:
                fleet.note_status(connection, statuses)
            work.arrived_ns = max((arrival.arrived_ns for arrival, _ in arrivals), default=0)
            for arrival, known_ns in arrivals:
                self._take(connection, work, arrival, known_ns)
            self._store(connection, work)
            return work

    def _of_known_nodes(
        self, connection: Connection, group: Sequence[Message]
    ) -> tuple[list[tuple[Arrival, int | None]], list[StatusArrival], Counter[str]]:
        """What enrolled nodes in service sent, batches with the clock error that is known of the node."""
        counts: Counter[str] = Counter()
        messages = []
        for message in group:
            if isinstance(message, Reconnected):
                fleet.forget_states(connection)
            else:
                messages.append(message)
        names = {"names": sorted({message.node for message in messages})}
        nodes = {row.name: row for row in connection.execute(_NODES, names)} if messages else {}
        arrivals: list[tuple[Arrival, int | None]] = []
        statuses: list[StatusArrival] = []
        for message in messages:
            node = nodes.get(message.node)
            if node is None or node.site != message.site:
                counts["not_enrolled"] += 1
                _log.debug("message of a node that is not enrolled", site=message.site, node=message.node)
            elif isinstance(message, StatusArrival):
                statuses.append(message)
            else:
                known_ns = (node.clock_offset_ms or 0) * 1_000_000 if node.last_seen_ns else None
                arrivals.append((message, known_ns))
        return arrivals, statuses, counts

    def _read_streams(
        self, connection: Connection, arrivals: Sequence[tuple[Arrival, int | None]]
    ) -> dict[tuple[str, str, str], _Stream]:
        keys = {(a.site, a.node, a.batch.head.epoch) for a, _ in arrivals if a.batch}
        if not keys:
            return {}
        names = {"names": sorted({key[1] for key in keys}), "epochs": sorted({key[2] for key in keys})}
        rows = connection.execute(_STREAMS, names)
        return {(site, node, epoch): _Stream(number, mark) for site, node, epoch, number, mark in rows}

    def _take(self, connection: Connection, work: _Work, arrival: Arrival, known_ns: int | None) -> None:
        batch = arrival.batch
        if batch is None:
            self._note_seen(work, arrival, known_ns)
            work.counts["batches_refused"] += 1
            work.refusals.append(
                Refusal(arrival.site, arrival.node, arrival.payload, arrival.reason, arrival.arrived_ns)
            )
            ack = Ack("", 0, refused_digest=arrival.digest, refused_reason=arrival.reason[:300])
            work.answers.append(Answer(arrival.site, arrival.node, ack))
            return
        head = batch.head
        key = (arrival.site, arrival.node, head.epoch)
        stream = work.streams.get(key)
        self._watch_sessions(arrival)
        if self._holder(work, key) != head.session and not self._agrees(connection, work, key, stream, batch):
            self._answer_fork(work, arrival)
            return
        verdict = judge(stream.mark if stream else 0, head)
        touched, (_, turn) = (*key, head.session), work.touched.get((*key, head.session), (None, 0))
        if isinstance(verdict, Leave):
            # What was taken before tells nothing of the node's clock: it may have been sent long ago.
            work.counts["batches_left"] += 1
            work.touched[touched] = stream or _Stream(0, 0), max(turn, head.turn)
            return
        seen = self._note_seen(work, arrival, known_ns)
        known_ns = (seen["offset_ms"] or 0) * 1_000_000 or known_ns
        offset_ns = self._clocks.offset_ns(arrival.node, head.sent_ns, arrival.arrived_ns, known_ns)
        seen["offset_ms"] = round(offset_ns / 1e6) if offset_ns else None
        if stream is None:
            stream = work.streams[key] = _Stream(_new_stream(connection, key, arrival.arrived_ns), 0)
        work.holders[key] = head.session
        work.proven[touched] = head.last
        work.touched[touched] = stream, max(turn, head.turn)
        self._add_rows(work, arrival, stream, verdict, offset_ns)
        stream.mark = head.last
        work.counts["batches"] += 1

    @staticmethod
    def _note_seen(work: _Work, arrival: Arrival, known_ns: int | None) -> dict[str, Any]:
        seen = work.seen.setdefault(arrival.node, {"node": arrival.node, "seen_ns": 0})
        seen["seen_ns"] = max(seen["seen_ns"], arrival.arrived_ns)
        seen.setdefault("offset_ms", round((known_ns or 0) / 1e6) or None)
        return seen

    def _watch_sessions(self, arrival: Arrival) -> None:
        assert arrival.batch is not None
        head = arrival.batch.head
        if self._sessions.saw(arrival.node, head.session, head.turn, arrival.arrived_ns):
            detail = "two devices use this node's enrolment: a cloned card, or one enrolment used twice"
            self._problems.add(arrival.node, "identity_shared", detail, arrival.arrived_ns)

    def _holder(self, work: _Work, key: tuple[str, str, str]) -> str | None:
        return work.holders.get(key, self._holders.get(key))

    def _agrees(
        self,
        connection: Connection,
        work: _Work,
        key: tuple[str, str, str],
        stream: _Stream | None,
        batch: Batch,
    ) -> bool:
        """Whether a batch of a session that does not hold its epoch is as stored; notes how far it is."""
        head = batch.head
        claim = (*key, head.session)
        proven = max(work.proven.get(claim, self._proven.get(claim, 0)), head.oldest - 1)
        agreed = wanted = 0
        if stream is not None and head.first <= stream.mark:
            self._insert_rows(connection, work.values)
            work.values.clear()
            wanted = min(head.last, stream.mark)
            agreed = agreed_through(connection, stream.id, stream.mark, batch)
            if head.first <= proven + 1:
                proven = max(proven, agreed)
        work.proven[claim] = proven
        return agreed == wanted

    def _answer_fork(self, work: _Work, arrival: Arrival) -> None:
        assert arrival.batch is not None
        head = arrival.batch.head
        work.counts["batches_forked"] += 1
        detail = f"two devices continued epoch {head.epoch} differently: its data folder was copied"
        self._problems.add(arrival.node, "forked", detail, arrival.arrived_ns)
        _log.warning("an epoch has two continuations", node=arrival.node, epoch=head.epoch, first=head.first)
        mark = work.proven[(arrival.site, arrival.node, head.epoch, head.session)]
        ack = Ack(head.epoch, mark, session=head.session, turn=head.turn, forked=True, shared=True)
        work.answers.append(Answer(arrival.site, arrival.node, ack))

    def _add_rows(
        self, work: _Work, arrival: Arrival, stream: _Stream, verdict: Take, offset_ns: int
    ) -> None:
        batch = arrival.batch
        assert batch is not None
        if verdict.lost_from:
            gap = Gap(verdict.after, LOST_BY_CLOUD, {})
            row = (stream.id, verdict.lost_from, GAP_TYPE, "", arrival.arrived_ns, arrival.arrived_ns)
            work.values.extend((*row, int(Priority.EVENT), None, None, msgspec.json.encode(gap).decode()))
            work.counts["lost_by_cloud"] += verdict.after - verdict.lost_from + 1
            _log.warning(
                "events lost by this cloud", node=arrival.node, first=verdict.lost_from, through=verdict.after
            )
        rows = make_rows(
            above(batch.events, verdict.after),
            arrival=arrival,
            stream_id=stream.id,
            offset_ns=offset_ns,
            tolerance_ns=self._tolerance_ns,
            projected=work.projected,
        )
        work.values += rows.values
        kinds, bodies = rows.values[_TYPE :: len(COLUMNS)], rows.values[_BODY :: len(COLUMNS)]
        work.tally.add(arrival.node, arrival.arrived_ns, kinds, bodies)
        work.subjects.setdefault(arrival.node, set()).update(rows.values[_SUBJECT :: len(COLUMNS)])
        malformed: list[Malformed] = batch.malformed + rows.malformed
        work.counts["events"] += len(rows.values) // len(COLUMNS)
        work.counts["malformed"] += len(malformed)
        work.refusals += [
            Refusal(arrival.site, arrival.node, m.body, m.reason, arrival.arrived_ns) for m in malformed
        ]

    def _store(self, connection: Connection, work: _Work) -> None:
        self._insert_rows(connection, work.values)
        moved = {stream.id: stream.mark for stream, _ in work.touched.values() if stream.id}
        if moved:
            connection.execute(_MOVE_MARK, [{"number": n, "mark": m} for n, m in sorted(moved.items())])
        if work.seen:
            connection.execute(_NOTE_SEEN, [work.seen[node] for node in sorted(work.seen)])
        self._volumes.keep(connection, work.tally)
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
        for (site, node, epoch, session), (stream, turn) in work.touched.items():
            shared = self._sessions.is_shared(node, work.arrived_ns)
            mark = stream.mark
            if self._holder(work, (site, node, epoch)) != session:
                mark = min(mark, work.proven[(site, node, epoch, session)])
            ack = Ack(epoch, mark, session=session, turn=turn, shared=shared)
            work.answers.append(Answer(site, node, ack))

    def _some_of_each_node(self, refusals: Sequence[Refusal]) -> list[Refusal]:
        """What goes to quarantine; a node cannot push out all that is there about others."""
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

    def take_failures(self) -> Counter[str]:
        """By node, how often projections failed since the last call."""
        failures, self._failures = self._failures, Counter()
        return failures

    def _insert_rows(self, connection: Connection, values: list[Any]) -> None:
        width = len(COLUMNS)
        step = width * ROWS_PER_STATEMENT
        whole = len(values) - len(values) % step
        for start in range(0, whole, step):
            connection.exec_driver_sql(self._insert[ROWS_PER_STATEMENT], tuple(values[start : start + step]))
        if whole < len(values):
            rest = values[whole:]
            rows = [tuple(rest[i : i + width]) for i in range(0, len(rest), width)]
            connection.exec_driver_sql(self._insert[1], rows)


def _insert_statement(dialect: str) -> Mapping[int, str]:
    """The INSERT of one row and of many; the one difference between the databases is the placeholder."""
    row = "(" + ", ".join(["?" if dialect == "sqlite" else "%s"] * len(COLUMNS)) + ")"
    start = f"INSERT INTO {StoredEvent.__tablename__} ({', '.join(COLUMNS)}) VALUES "  # noqa: S608  constants
    return {
        count: f"{start}{', '.join([row] * count)} ON CONFLICT DO NOTHING"
        for count in (1, ROWS_PER_STATEMENT)
    }


def _new_stream(connection: Connection, key: tuple[str, str, str], now_ns: int) -> int:
    """Id of a new stream. Raises ``IntegrityError`` if another cloud makes it at the same moment."""
    site, node, epoch = key
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(Stream)
    row = {"site": site, "node": node, "epoch": epoch, "high_water_mark": 0, "created_ns": now_ns}
    return connection.execute(insert.values(**row).returning(Stream.id)).scalar_one()  # type: ignore[arg-type]
