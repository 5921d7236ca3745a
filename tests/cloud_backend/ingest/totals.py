"""An app that counts what it gets, its committer, and the acks of its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, text
from sqlmodel import Field, Session, SQLModel

from cloud_backend.ingest.app_tables import prepare
from cloud_backend.ingest.commit import Committer
from cloud_backend.ingest.projections import Projections
from cloud_backend.ingest.transaction import NodeAck
from common.app.cloud import ReceivedEvent
from common.config.cloud import IngestSettings
from common.messages import Ack
from tests.cloud_backend.ingest.nodes import SITE, enrol

SECOND_NS = 1_000_000_000


class Total(SQLModel, table=True):
    """One row a subject: how many events, and their sum."""

    __tablename__ = "test_total"  # pyright: ignore[reportAssignmentType]: a name is what SQLModel takes
    subject: str = Field(primary_key=True)
    events: int = 0
    last_seq: int = 0


class Totals:
    """A projection that counts, and that fails on an event whose data request it."""

    schema_version = 1
    table: type[Any] = Total

    def tables(self) -> Sequence[Any]:
        return (self.table,)

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        for event in events:
            row = session.get(self.table, event.subject) or self.table(subject=event.subject)
            row.events += 1
            row.last_seq = event.seq
            session.add(row)
            if event.data.get("poison"):
                session.flush()
                session.execute(text(event.data["poison"]))

    def router(self, deps: Any) -> Any:
        raise NotImplementedError


def committer(engine: Engine, **settings: Any) -> Committer:
    enrol(engine, "node-1", "node-2")
    apps = {"test": Totals()}
    prepare(engine, apps)
    return Committer(engine, Projections(apps), IngestSettings(**settings))


def ack(mark: int, epoch: str = "e1", node: str = "node-1") -> NodeAck:
    return NodeAck(SITE, node, Ack(epoch, mark))
