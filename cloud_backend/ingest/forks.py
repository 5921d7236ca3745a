"""Agreement of a batch with the stored events of its epoch.

A node that sends again sends the same. Where it differs, two devices number one epoch: a data folder was
copied, or put back to an earlier day.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from cloud_backend.store.tables import StoredEvent
from common.errors import MessageError
from common.messages import GAP_TYPE, Batch, TimeQuality, WireEvent, parse_time

TIME_TOLERANCE_NS = 2_000_000
"""The correction of a node's clock is stored in milliseconds."""

_event = StoredEvent.metadata.tables["event"].c
_COLUMNS = (_event.seq, _event.type, _event.subject, _event.time_ns, _event.clock_offset_ms, _event.body)


def agreed_through(connection: Connection, stream_id: int, mark: int, batch: Batch) -> int:
    """The last seq of ``batch``, at most ``mark``, below the first event that is stored otherwise.

    What became a gap since, on either side, is no difference, nor are times that the node has corrected
    since, by an error of its clock that it learnt later.
    """
    first, last = batch.head.first, min(batch.head.last, mark)
    query = select(*_COLUMNS).where(_event.stream_id == stream_id, _event.seq.between(first, last))
    query = query.order_by(_event.seq)
    sent = {event.seq: event for event in batch.events if event.type != GAP_TYPE}
    for seq, kind, subject, time_ns, offset_ms, body in connection.execute(query):
        event = sent.get(seq)
        if event is None or kind == GAP_TYPE:
            continue
        if (event.type, event.subject) != (kind, subject):
            return seq - 1
        if event.timequality == TimeQuality.CORRECTED:
            continue
        if str(event.data, "utf-8") != body:
            return seq - 1
        if abs(_time_of(event) - (time_ns - (offset_ms or 0) * 1_000_000)) > TIME_TOLERANCE_NS:
            return seq - 1
    return last


def _time_of(event: WireEvent) -> int:
    try:
        return parse_time(event.time)
    except MessageError:
        return 0
