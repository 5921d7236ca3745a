"""A node as ingest sees it: numbered events, batches of them, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Engine, select
from sqlmodel import Session, col

from cloud_backend.access.wire_keys import derive_key
from cloud_backend.ingest.received import ReceivedBatch, read_batch
from cloud_backend.store.tables import Node, StoredEvent, Stream
from common import messages
from common.messages import Event, Priority
from common.sealing import Seal, key_text

SECRET = "a secret of the cloud"
NOW_NS = 1_800_000_000_000_000_000
SITE = "plant"


class SimulatedNode:
    """Events ``1 .. n`` of one epoch; ``batch(first, last)`` is a payload of them."""

    def __init__(self, name: str = "node-1", epoch: str = "e1", clock_error_ns: int = 0) -> None:
        self.name = name
        self.epoch = epoch
        self.source = f"/{SITE}/{name}"
        self.oldest = 1
        self.clock_error_ns = clock_error_ns

    def body(self, seq: int, kind: str = "test.value", **more: Any) -> bytes:
        """One encoded event, captured a second after the one before."""
        fields = {"priority": Priority.TELEMETRY, "subject": "engine-1", "data": {"seq": seq}} | more
        event = Event(kind, fields["subject"], self.time_of(seq), fields["priority"], fields["data"])
        return messages.encode_event(event, source=self.source, epoch=self.epoch, seq=seq)

    def time_of(self, seq: int) -> int:
        """Capture time of ``seq`` by the node's clock."""
        return NOW_NS + self.clock_error_ns - 3_600_000_000_000 + seq * 1_000_000_000

    def gap(self, seq: int, through: int, reason: str = "evicted") -> bytes:
        """A gap event."""
        data = {"through": through, "reason": reason, "counts": {"telemetry": through - seq + 1}}
        return self.body(seq, messages.GAP_TYPE, data=data)

    def batch(
        self,
        first: int,
        last: int,
        bodies: Sequence[bytes] | None = None,
        sent_ns: int = NOW_NS,
        session: str = "",
        turn: int = 0,
    ) -> bytes:
        """The payload of events ``first .. last``, or of ``bodies`` claimed to be those."""
        return messages.encode_batch(
            [self.body(seq) for seq in range(first, last + 1)] if bodies is None else bodies,
            source=self.source,
            epoch=self.epoch,
            first=first,
            last=last,
            sent_ns=sent_ns + self.clock_error_ns,
            oldest=min(self.oldest, first),
            session=session,
            turn=turn,
        )

    def received(self, *arguments: Any, arrived_ns: int = NOW_NS, **more: Any) -> ReceivedBatch:
        """`batch` as it arrives in the cloud."""
        return read_batch(SITE, self.name, self.batch(*arguments, **more), arrived_ns)


def enrol(engine: Engine, *names: str, site: str = SITE) -> None:
    """Let nodes in."""
    with Session(engine) as session:
        for name in names:
            session.add(Node(name=name, site=site, enrolled_ns=1))
        session.commit()


def seal_of(node: str = "node-1", site: str = SITE, enrolled_ns: int = 1) -> Seal:
    """The seal of a node that `enrol` let in, at a cloud with `SECRET`."""
    return Seal(derive_key(SECRET.encode(), site, node, enrolled_ns))


def wire_key_of(node: str = "node-1", site: str = SITE) -> str:
    """The same as an enrolment has it."""
    return key_text(derive_key(SECRET.encode(), site, node, 1))


def stored(engine: Engine, node: str = "node-1") -> list[tuple[str, int, str]]:
    """``(epoch, seq, type)`` of all that is stored of a node, in order."""
    query = (
        select(col(Stream.epoch), col(StoredEvent.seq), col(StoredEvent.type))
        .join_from(StoredEvent, Stream, col(StoredEvent.stream_id) == col(Stream.id))
        .where(col(Stream.node) == node)
        .order_by(col(StoredEvent.stream_id), col(StoredEvent.seq))
    )
    with engine.connect() as connection:
        return [(row.epoch, row.seq, row.type) for row in connection.execute(query)]


def rows(engine: Engine, table: type[Any]) -> list[Any]:
    """All rows of a table."""
    with Session(engine) as session:
        return list(session.scalars(select(table).order_by(*table.__table__.primary_key)))


Rows = Callable[[type[Any]], list[Any]]
