"""Whether a batch tells of seqs that are stored something else than what is stored.

A node that sends again sends the same. Where it differs, two devices number one epoch: a data folder was
copied, or put back to an earlier day.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from cloud_backend.store.tables import StoredEvent
from common.errors import MessageError
from common.messages import GAP_TYPE, Batch, WireEvent, parse_time

TIME_TOLERANCE_NS = 2_000_000
"""The correction of a node's clock is stored in milliseconds."""

_event = StoredEvent.__table__.c  # type: ignore[attr-defined]
_COLUMNS = (_event.seq, _event.type, _event.subject, _event.time_ns, _event.clock_offset_ms, _event.body)


def differs(connection: Connection, stream_id: int, mark: int, batch: Batch) -> bool:
    """Whether an event of ``batch`` up to ``mark`` is stored, and not as it is here.

    What became a gap since, on either side, is no difference.
    """
    first, last = batch.head.first, min(batch.head.last, mark)
    query = select(*_COLUMNS).where(_event.stream_id == stream_id, _event.seq.between(first, last))
    sent = {event.seq: event for event in batch.events if event.type != GAP_TYPE}
    for seq, kind, subject, time_ns, offset_ms, body in connection.execute(query):
        event = sent.get(seq)
        if event is None or kind == GAP_TYPE:
            continue
        if (event.type, event.subject, str(event.data, "utf-8")) != (kind, subject, body):
            return True
        if abs(_time_of(event) - (time_ns - (offset_ms or 0) * 1_000_000)) > TIME_TOLERANCE_NS:
            return True
    return False


def _time_of(event: WireEvent) -> int:
    try:
        return parse_time(event.time)
    except MessageError:
        return 0
