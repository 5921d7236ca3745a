"""Uploads of samples in the store: their rows, the account and limits of each node, and refusals.

Every method is one transaction. Bounded: the open uploads and the stored bytes of a node; an upload without
progress for a day is dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, func, select, update
from sqlmodel import Session, col

from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import Node, Quarantined, SampleRow, UploadCount
from common.clock import Clock
from common.errors import UploadConflict, UploadNoSpace, UploadsOpen, UploadUnknown

OPEN_UPLOADS = 32
"""Limit of unfinished uploads of a node."""
EXPIRY_NS = 24 * 3600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Announced:
    """Announcement of a sample by a node, before its content."""

    app: str
    subject: str
    group: str
    captured_ns: int
    reasons: Mapping[str, float]
    attributes: Mapping[str, Any]
    size: int
    sha256: str
    recorded: bool = False
    """Whether its times (``captured_ns``, attributes ``*_ns``) are a recording's, not a node's clock's."""


@dataclass(frozen=True, slots=True)
class Upload:
    """Progress of an upload: ``offset`` of ``size`` bytes."""

    id: str
    node: str
    offset: int
    size: int
    complete: bool


class UploadRows:
    """Rows of uploads. Any thread may call; changes are made one at a time."""

    def __init__(self, engine: Engine, clock: Clock, *, node_limit_bytes: int, open_uploads: int) -> None:
        self._engine = engine
        self._clock = clock
        self._node_limit_bytes = node_limit_bytes
        self._open_uploads = open_uploads
        self._lock = threading.Lock()

    def announce(self, node: str, announced: Announced, check_disk: Callable[[], None]) -> Upload:
        """The upload of a sample, new or continued.

        Raises `UploadConflict`, `UploadsOpen`, `UploadNoSpace`, and what ``check_disk`` raises for a new one.
        """
        with self._lock, Session(self._engine) as session:
            row = session.get(SampleRow, announced.sha256)
            if row is None:
                offset_ns = 0 if announced.recorded else _clock_offset_ns(session, node)
                self._check_room(session, node, announced.size)
                check_disk()
                row = SampleRow(
                    digest=announced.sha256,
                    app=announced.app,
                    node=node,
                    subject=announced.subject,
                    group=announced.group,
                    captured_ns=announced.captured_ns + offset_ns,
                    reasons=dict(announced.reasons),
                    attributes=_moved(announced.attributes, offset_ns),
                    size=announced.size,
                    received_ns=self._clock(),
                )
                session.add(row)
                session.commit()
            elif row.app != announced.app or row.size != announced.size:
                raise UploadConflict(
                    f"sample {announced.sha256} is already announced for {row.app} with {row.size} bytes"
                )
            elif row.node != node and not row.complete:
                raise UploadConflict(f"another node is uploading sample {announced.sha256}: try again later")
            return _upload(row)

    def get(self, node: str | None, digest: str) -> Upload:
        """An upload; ``node`` None may see all. Raises `UploadUnknown`."""
        with Session(read_only(self._engine)) as session:
            row = session.get(SampleRow, digest)
            if row is None or (node is not None and row.node != node):
                raise UploadUnknown(f"there is no upload {digest[:64]}: announce the sample first")
            return _upload(row)

    def advance(self, upload: Upload, offset: int) -> Upload:
        """Count the bytes up to ``offset``."""
        with self._lock, Session(self._engine) as session:
            session.execute(
                update(SampleRow)
                .where(col(SampleRow.digest) == upload.id)
                .values(offset=offset, received_ns=self._clock())
            )
            _count(session, upload.node, bytes_received=offset - upload.offset)
            session.commit()
        return Upload(upload.id, upload.node, offset, upload.size, False)

    def restart(self, upload: Upload) -> Upload:
        """Set an upload without its bytes back to the beginning."""
        with self._lock, Session(self._engine) as session:
            session.execute(update(SampleRow).where(col(SampleRow.digest) == upload.id).values(offset=0))
            session.commit()
        return Upload(upload.id, upload.node, 0, upload.size, False)

    def complete(self, upload: Upload) -> Upload:
        """Mark an upload as complete, once."""
        with self._lock, Session(self._engine) as session:
            row = session.get(SampleRow, upload.id, with_for_update=True)
            if row is not None and not row.complete:
                row.complete, row.received_ns = True, self._clock()
                _count(session, upload.node, samples=1, bytes_stored=upload.size)
            session.commit()
        return Upload(upload.id, upload.node, upload.size, upload.size, True)

    def drop(self, upload: Upload, head: bytes | None = None, reason: str = "") -> None:
        """Delete the row of a refused sample; ``head``, the start of its content, goes to quarantine."""
        with self._lock, Session(self._engine) as session:
            row = session.get(SampleRow, upload.id)
            if row is not None:
                session.delete(row)
            _count(session, upload.node, refused=1)
            if head is not None:
                _quarantine(session, upload, head, f"sample: {reason}", self._clock())
            session.commit()

    def drop_expired(self, drop_content: Callable[[str], bool]) -> None:
        """Delete uploads without progress for a day; ``drop_content`` may keep one that is in use."""
        oldest_ns = self._clock() - EXPIRY_NS
        with self._lock, Session(self._engine) as session:
            stale = session.scalars(
                select(SampleRow)
                .where(col(SampleRow.complete).is_(False), col(SampleRow.received_ns) < oldest_ns)
                .limit(1000)
            ).all()
            for row in stale:
                if drop_content(row.digest):
                    session.delete(row)
            session.commit()

    def _check_room(self, session: Session, node: str, size: int) -> None:
        waiting, expected = session.execute(
            select(func.count(), func.coalesce(func.sum(col(SampleRow.size)), 0))
            .select_from(SampleRow)
            .where(col(SampleRow.node) == node, col(SampleRow.complete).is_(False))
        ).one()
        if waiting >= self._open_uploads:
            raise UploadsOpen(
                f"{node} has {waiting} unfinished uploads, the limit of a node: finish one first; one "
                "without progress is dropped after a day"
            )
        count = session.get(UploadCount, node)
        stored = (count.bytes_stored if count else 0) + expected
        if stored + size > self._node_limit_bytes:
            raise UploadNoSpace(
                f"{node} has {stored} bytes stored or on their way; the limit of a node is "
                f"{self._node_limit_bytes} (http.node_samples_bytes)"
            )


def _moved(attributes: Mapping[str, Any], by_ns: int) -> dict[str, Any]:
    """The attributes with integers under ``*_ns`` moved, as in events (`common.messages.moved_stamps`)."""
    return {
        name: value + by_ns if name.endswith("_ns") and type(value) is int else value
        for name, value in attributes.items()
    }


def _clock_offset_ns(session: Session, node: str) -> int:
    """The present correction of the node's events, so that its samples stay beside them."""
    row = session.get(Node, node)
    return ((row.clock_offset_ms if row else None) or 0) * 1_000_000


def _upload(row: SampleRow) -> Upload:
    return Upload(row.digest, row.node, row.offset, row.size, row.complete)


def _count(session: Session, node: str, **more: int) -> None:
    """Add to the account of a node; runs under the store's lock."""
    count = session.get(UploadCount, node)
    if count is None:
        count = UploadCount(node=node)
        session.add(count)
    for name, value in more.items():
        setattr(count, name, getattr(count, name) + value)


def _quarantine(session: Session, upload: Upload, head: bytes, reason: str, now_ns: int) -> None:
    known = session.scalar(select(Quarantined).where(col(Quarantined.digest) == upload.id))
    if known is not None:
        known.count += 1
        return
    session.add(
        Quarantined(
            site="", node=upload.node, digest=upload.id, reason=reason[:500], body=head, received_ns=now_ns
        )
    )
