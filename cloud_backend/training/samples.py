"""Samples as nodes upload them: in pieces, resumable, never trusted. Rules:

- A sample is announced with its size and SHA-256; the digest is its id. Announcing it again says how
  far it has come, so an upload goes on after any interruption, and a sample is stored once.
- A piece continues at the offset that was reached; any other offset is a conflict that tells the right
  one. Bytes count once they are on disk; what a lost connection left of a piece counts as well.
- With the last byte the content is checked: another digest, or content that is not a sample, is
  removed and refused. What is not a sample leaves its first bytes in quarantine.
- Samples are unpacked one at a time, and checked without being held in memory.
- Bounded: the size of a sample, the open uploads and the stored bytes of a node; an upload that
  stands still for a day is dropped.

Folder: ``partial/<digest>`` while it arrives, ``<first two digits>/<digest>.npz`` afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from sqlalchemy import Engine, func, select, update
from sqlmodel import Session, col

from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import Node, Quarantined, SampleRow, UploadCount
from common import durable
from common.bundle import file_digest
from common.clock import Clock
from common.errors import (
    SampleError,
    SampleRefused,
    UploadConflict,
    UploadNoSpace,
    UploadsOpen,
    UploadTooLarge,
    UploadUnknown,
)
from common.samples import check_sample, decode_sample

QUARANTINE_BYTES = 4096
"""How much of a refused sample is kept for a look."""
RESERVE_BYTES = 256 * 1024 * 1024
"""Free space that samples leave to the database and everything else on the disk."""
OPEN_UPLOADS = 32
"""Most unfinished uploads of a node."""
EXPIRY_NS = 24 * 3600 * 1_000_000_000
EXPIRY_LOOK_NS = 600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Announced:
    """What a node says about a sample before it sends it."""

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
    """How far an upload is."""

    id: str
    node: str
    offset: int
    size: int
    complete: bool


class SampleStore:
    """The samples of all apps. ``node_limit_bytes`` bounds what one node may have stored."""

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        *,
        limit_bytes: int = 64 * 1024 * 1024,
        node_limit_bytes: int = 16 * 1024**3,
        open_uploads: int = OPEN_UPLOADS,
        clock: Clock = time.time_ns,
    ) -> None:
        self._engine = engine
        self._folder = folder
        self.limit_bytes = limit_bytes
        self._node_limit_bytes = node_limit_bytes
        self._open_uploads = open_uploads
        self._clock = clock
        self._lock = threading.Lock()
        self._decoding = threading.Lock()
        self._busy: set[str] = set()
        self._next_expiry_ns = 0
        (folder / "partial").mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where a complete sample lies."""
        return self._folder / digest[:2] / f"{digest}.npz"

    def read(self, digest: str, *, limit_bytes: int) -> dict[str, NDArray[Any]]:
        """Arrays of a complete sample, one reader at a time. Raises `SampleError`, `FileNotFoundError`."""
        with self._decoding:
            return decode_sample(self.path(digest), limit_bytes=limit_bytes)

    def begin(self, node: str, announced: Announced) -> Upload:
        """Announce a sample, or ask how far it is.

        Raises `UploadTooLarge`, `UploadConflict`, `UploadsOpen`, `UploadNoSpace`.
        """
        if announced.size > self.limit_bytes:
            raise UploadTooLarge(f"a sample of {announced.size} bytes; at most {self.limit_bytes} are taken")
        self._expire()
        with self._lock, Session(self._engine) as session:
            row = session.get(SampleRow, announced.sha256)
            if row is None:
                offset_ns = 0 if announced.recorded else _clock_offset_ns(session, node)
                self._check_room(session, node, announced.size)
                self._check_disk(announced.size)
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
            upload = _upload(row)
        return self._settle_idle(upload)

    def state(self, node: str | None, digest: str) -> Upload:
        """How far an upload is; ``node`` None may see all. Raises `UploadUnknown`."""
        with Session(read_only(self._engine)) as session:
            row = session.get(SampleRow, digest)
            if row is None or (node is not None and row.node != node):
                raise UploadUnknown(f"there is no upload {digest[:64]}: announce the sample first")
            upload = _upload(row)
        return self._settle_idle(upload)

    @contextlib.contextmanager
    def piece(self, node: str | None, digest: str, offset: int) -> Iterator[Piece]:
        """Take one piece at ``offset``. At the end, ``piece.upload`` tells how far the upload is.

        What was written counts even if the block ends in an error, so a lost connection loses little.
        Raises `UploadUnknown`, `UploadConflict`; at the end `SampleRefused`.
        """
        piece = self.open_piece(node, digest, offset)
        try:
            yield piece
        finally:
            piece.close()

    def open_piece(self, node: str | None, digest: str, offset: int) -> Piece:
        """`piece` without the block: the caller closes it."""
        upload = self.state(node, digest)
        with self._lock:
            if digest in self._busy:
                raise UploadConflict(f"another request is writing to {digest}", upload.offset)
            self._busy.add(digest)
        try:
            upload = self.state(node, digest)
            if upload.complete or offset != upload.offset:
                raise UploadConflict(
                    f"the upload is at {upload.offset} of {upload.size} bytes, not at {offset}", upload.offset
                )
            return Piece(self, upload)
        except BaseException:
            self._release(digest)
            raise

    def partial(self, digest: str) -> Path:
        return self._folder / "partial" / digest

    def _advance(self, upload: Upload, offset: int) -> Upload:
        """Make the bytes up to ``offset`` count, and finish the upload if they are all there."""
        with self._lock, Session(self._engine) as session:
            session.execute(
                update(SampleRow)
                .where(col(SampleRow.digest) == upload.id)
                .values(offset=offset, received_ns=self._clock())
            )
            _count(session, upload.node, bytes_received=offset - upload.offset)
            session.commit()
        return self._settle(Upload(upload.id, upload.node, offset, upload.size, False))

    def _settle_idle(self, upload: Upload) -> Upload:
        """`_settle`, unless a piece is being written: whoever writes it, settles it."""
        with self._lock:
            if upload.id in self._busy:
                return upload
            self._busy.add(upload.id)
        try:
            return self._settle(upload)
        finally:
            self._release(upload.id)

    def _settle(self, upload: Upload) -> Upload:
        """Finish an upload that has all its bytes; also after a crash between the steps."""
        if upload.complete:
            return upload
        partial, final = self.partial(upload.id), self.path(upload.id)
        if upload.offset < upload.size:
            if upload.offset and not partial.exists():
                self._forget_offset(upload.id)
                return Upload(upload.id, upload.node, 0, upload.size, False)
            return upload
        if not partial.exists() and not final.exists():
            self._forget_offset(upload.id)
            return Upload(upload.id, upload.node, 0, upload.size, False)
        if partial.exists():
            self._verify(upload, partial)
            final.parent.mkdir(exist_ok=True)
            os.replace(partial, final)
            durable.sync_folder(final.parent)
        with self._lock, Session(self._engine) as session:
            changed = session.execute(
                update(SampleRow)
                .where(col(SampleRow.digest) == upload.id, col(SampleRow.complete).is_(False))
                .values(complete=True, received_ns=self._clock())
            )
            if changed.rowcount:  # type: ignore[attr-defined]
                _count(session, upload.node, samples=1, bytes_stored=upload.size)
            session.commit()
        return Upload(upload.id, upload.node, upload.size, upload.size, True)

    def _verify(self, upload: Upload, partial: Path) -> None:
        if file_digest(partial) != upload.id:
            self._drop(upload, None, "")
            raise SampleRefused(f"the bytes of sample {upload.id} have another SHA-256: send it again")
        try:
            with self._decoding:
                check_sample(partial)
        except SampleError as error:
            with partial.open("rb") as file:
                head = file.read(QUARANTINE_BYTES)
            self._drop(upload, head, str(error))
            raise SampleRefused(f"sample {upload.id} is refused: {error}") from error

    def _drop(self, upload: Upload, head: bytes | None, reason: str) -> None:
        with self._lock, Session(self._engine) as session:
            row = session.get(SampleRow, upload.id)
            if row is not None:
                session.delete(row)
            _count(session, upload.node, refused=1)
            if head is not None:
                _quarantine(session, upload, head, f"sample: {reason}", self._clock())
            session.commit()
        self.partial(upload.id).unlink(missing_ok=True)

    def _forget_offset(self, digest: str) -> None:
        with self._lock, Session(self._engine) as session:
            session.execute(update(SampleRow).where(col(SampleRow.digest) == digest).values(offset=0))
            session.commit()

    def _check_disk(self, size: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < size + RESERVE_BYTES:
            raise UploadNoSpace(
                f"{free} bytes are free on the cloud's disk; the last {RESERVE_BYTES} are not for samples"
            )

    def _check_room(self, session: Session, node: str, size: int) -> None:
        waiting, expected = session.execute(
            select(func.count(), func.coalesce(func.sum(col(SampleRow.size)), 0))
            .select_from(SampleRow)
            .where(col(SampleRow.node) == node, col(SampleRow.complete).is_(False))
        ).one()
        if waiting >= self._open_uploads:
            raise UploadsOpen(
                f"{node} has {waiting} unfinished uploads, as many as a node may: finish one first; one that "
                "stands still is dropped after a day"
            )
        count = session.get(UploadCount, node)
        stored = (count.bytes_stored if count else 0) + expected
        if stored + size > self._node_limit_bytes:
            raise UploadNoSpace(
                f"{node} has {stored} bytes stored or on their way; of a node, at most "
                f"{self._node_limit_bytes} are kept (http.node_samples_bytes)"
            )

    def _expire(self) -> None:
        now_ns = self._clock()
        if now_ns < self._next_expiry_ns:
            return
        self._next_expiry_ns = now_ns + EXPIRY_LOOK_NS
        with self._lock, Session(self._engine) as session:
            stale = session.scalars(
                select(SampleRow)
                .where(col(SampleRow.complete).is_(False), col(SampleRow.received_ns) < now_ns - EXPIRY_NS)
                .limit(1000)
            ).all()
            for row in stale:
                if row.digest not in self._busy:
                    self.partial(row.digest).unlink(missing_ok=True)
                    session.delete(row)
            session.commit()

    def _release(self, digest: str) -> None:
        with self._lock:
            self._busy.discard(digest)


class Piece:
    """One piece being written. ``upload`` is how far the upload was, and after `close` how far it is."""

    def __init__(self, store: SampleStore, upload: Upload) -> None:
        self._store = store
        self.upload = upload
        self._written = 0
        self._too_long = False
        descriptor = os.open(store.partial(upload.id), os.O_RDWR | os.O_CREAT, 0o600)
        self._file = os.fdopen(descriptor, "r+b")
        self._file.truncate(upload.offset)  # what a crash left behind the counted bytes
        self._file.seek(upload.offset)

    def write(self, content: bytes) -> None:
        """Raises `UploadTooLarge` past the announced size; the whole piece then does not count."""
        if self.upload.offset + self._written + len(content) > self.upload.size:
            self._too_long = True
            raise UploadTooLarge(f"more bytes than the {self.upload.size} that were announced")
        self._file.write(content)
        self._written += len(content)

    def close(self) -> Upload:
        """Make it count. Raises `SampleRefused` if this was the last piece and the sample is not good."""
        try:
            with self._file as file:
                if self._too_long:
                    return self.upload
                file.flush()
                os.fsync(file.fileno())
            if self._written:
                self.upload = self._store._advance(self.upload, self.upload.offset + self._written)
            return self.upload
        finally:
            self._store._release(self.upload.id)


def digest_of(content: bytes) -> str:
    """The id of a sample with this content."""
    return hashlib.sha256(content).hexdigest()


def _moved(attributes: Mapping[str, Any], by_ns: int) -> dict[str, Any]:
    """The attributes with integers under ``*_ns`` moved, as in events (`common.messages.moved_stamps`)."""
    return {
        name: value + by_ns if name.endswith("_ns") and type(value) is int else value
        for name, value in attributes.items()
    }


def _clock_offset_ns(session: Session, node: str) -> int:
    """The correction that events of the node get at present, so that its samples stay beside them."""
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
