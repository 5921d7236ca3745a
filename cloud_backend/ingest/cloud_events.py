"""Events of the cloud's own: what an app's cloud side decides or receives, kept as the events of nodes are.

Each app and site has an epoch of the node `CLOUD_NODE`, a name that no device can have, so that node, epoch
and sequence number identify an event here too. Alarms are alerts, and all are projected again when the tables
of the app are rebuilt.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlmodel import Session

from cloud_backend.ingest.event_table import EventTable, move_marks, read_streams
from cloud_backend.store.tables import Stream
from common.app.cloud import CLOUD_NODE, CloudApp, ReceivedEvent
from common.app.events import fields_of
from common.app.projection import insert_into
from common.messages import Event


def record(
    session: Session, name: str, app: CloudApp, site: str, events: Sequence[Event], now_ns: int
) -> None:
    """Store ``events`` of the app ``name`` at ``site`` and project them; the caller commits."""
    if not events:
        return
    epoch = f"{name}.{site}"
    key = (site, CLOUD_NODE, epoch)
    connection = session.connection()
    stream = {"site": site, "node": CLOUD_NODE, "epoch": epoch, "high_water_mark": 0, "created_ns": now_ns}
    connection.execute(insert_into(session, Stream).values(**stream).on_conflict_do_nothing())
    number, mark = read_streams(connection, {key})[key]
    received = [
        ReceivedEvent(
            site=site,
            node=CLOUD_NODE,
            epoch=epoch,
            seq=mark + position,
            type=event.type,
            subject=event.subject,
            time_ns=event.time_ns,
            priority=event.priority,
            body=msgspec.json.encode(fields_of(event)),
        )
        for position, event in enumerate(events, start=1)
    ]
    values: list[object] = []
    for each in received:
        values += (number, each.seq, each.type, each.subject, each.time_ns, now_ns)
        values += (int(each.priority), None, None, each.body.decode())
    EventTable(connection.dialect.name).insert(connection, values)
    move_marks(connection, {number: mark + len(events)})
    app.project(session, received)
