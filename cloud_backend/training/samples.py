"""Samples as nodes upload them: in pieces, resumable, never trusted. Rules:

- A sample is announced with its size and SHA-256; the digest is its id. Announcing it again returns its
  progress, so an upload continues after any interruption, and a sample is stored once.
- A piece continues at the reached offset; any other offset is a conflict that names the right one. Bytes
  count once they are on disk, those of an interrupted piece as well.
- The last byte is followed by a check of the content: another digest, or content that is not a sample, is
  removed and refused. The first bytes of what is not a sample go to quarantine.
- Samples are unpacked one at a time, and checked without being held in memory.
- Bounded: the size of a sample, the space on the disk, and each node's uploads
  (`cloud_backend.training.upload_rows`).

Folder: ``partial/<digest>`` while it arrives, ``<first two digits>/<digest>.npz`` afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from sqlalchemy import Engine

from cloud_backend.training.upload_rows import OPEN_UPLOADS, Announced, Upload, UploadRows
from common import durable
from common.bundle import file_digest
from common.clock import Clock
from common.errors import SampleError, SampleRefused, UploadConflict, UploadNoSpace, UploadTooLarge
from common.samples import check_sample, decode_sample

QUARANTINE_BYTES = 4096
"""Length of the start of a refused sample that is kept."""
RESERVE_BYTES = 256 * 1024 * 1024
"""Free space that samples leave to the database and everything else on the disk."""
EXPIRY_LOOK_NS = 600 * 1_000_000_000


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
        self._folder = folder
        self.limit_bytes = limit_bytes
        self._rows = UploadRows(engine, clock, node_limit_bytes=node_limit_bytes, open_uploads=open_uploads)
        self._clock = clock
        self._lock = threading.Lock()
        self._decoding = threading.Lock()
        self._busy: set[str] = set()
        self._next_expiry_ns = 0
        (folder / "partial").mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """File of a complete sample."""
        return self._folder / digest[:2] / f"{digest}.npz"

    def partial(self, digest: str) -> Path:
        """File of an incomplete sample."""
        return self._folder / "partial" / digest

    def read(self, digest: str, *, limit_bytes: int) -> dict[str, NDArray[Any]]:
        """Arrays of a complete sample, one reader at a time. Raises `SampleError`, `FileNotFoundError`."""
        with self._decoding:
            return decode_sample(self.path(digest), limit_bytes=limit_bytes)

    def begin(self, node: str, announced: Announced) -> Upload:
        """Announce a sample; the upload's progress.

        Raises `UploadTooLarge`, `UploadConflict`, `UploadsOpen`, `UploadNoSpace`.
        """
        if announced.size > self.limit_bytes:
            raise UploadTooLarge(f"a sample of {announced.size} bytes; the limit is {self.limit_bytes}")
        self._expire()
        return self._settle_idle(
            self._rows.announce(node, announced, lambda: self._check_disk(announced.size))
        )

    def state(self, node: str | None, digest: str) -> Upload:
        """Progress of an upload; ``node`` None may see all. Raises `UploadUnknown`."""
        return self._settle_idle(self._rows.get(node, digest))

    @contextlib.contextmanager
    def piece(self, node: str | None, digest: str, offset: int) -> Iterator[Piece]:
        """Take one piece at ``offset``. At the end, ``piece.upload`` has the progress.

        Written bytes count even if the block ends in an error, so a lost connection loses little.
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
            self.release(digest)
            raise

    def advance(self, upload: Upload, offset: int) -> Upload:
        """Count the bytes up to ``offset``, and finish an upload that has them all. For `Piece`."""
        return self._settle(self._rows.advance(upload, offset))

    def release(self, digest: str) -> None:
        """End the exclusive use of an upload. For `Piece`."""
        with self._lock:
            self._busy.discard(digest)

    def _settle_idle(self, upload: Upload) -> Upload:
        """`_settle`, unless a piece is being written: its writer settles the upload."""
        with self._lock:
            if upload.id in self._busy:
                return upload
            self._busy.add(upload.id)
        try:
            return self._settle(upload)
        finally:
            self.release(upload.id)

    def _settle(self, upload: Upload) -> Upload:
        """Finish an upload that has all its bytes; also after a crash between the steps."""
        if upload.complete:
            return upload
        partial, final = self.partial(upload.id), self.path(upload.id)
        if upload.offset < upload.size:
            return self._rows.restart(upload) if upload.offset and not partial.exists() else upload
        if not partial.exists() and not final.exists():
            return self._rows.restart(upload)
        if partial.exists():
            self._verify(upload, partial)
            final.parent.mkdir(exist_ok=True)
            os.replace(partial, final)
            durable.sync_folder(final.parent)
        return self._rows.complete(upload)

    def _verify(self, upload: Upload, partial: Path) -> None:
        if file_digest(partial) != upload.id:
            self._rows.drop(upload)
            partial.unlink(missing_ok=True)
            raise SampleRefused(f"the bytes of sample {upload.id} have another SHA-256: send it again")
        try:
            with self._decoding:
                check_sample(partial)
        except SampleError as error:
            with partial.open("rb") as file:
                head = file.read(QUARANTINE_BYTES)
            self._rows.drop(upload, head, str(error))
            partial.unlink(missing_ok=True)
            raise SampleRefused(f"sample {upload.id} is refused: {error}") from error

    def _check_disk(self, size: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < size + RESERVE_BYTES:
            raise UploadNoSpace(
                f"{free} bytes are free on the cloud's disk; the last {RESERVE_BYTES} are not for samples"
            )

    def _expire(self) -> None:
        now_ns = self._clock()
        if now_ns >= self._next_expiry_ns:
            self._next_expiry_ns = now_ns + EXPIRY_LOOK_NS
            self._rows.drop_expired(self._drop_content)

    def _drop_content(self, digest: str) -> bool:
        """Remove the bytes of an incomplete upload, unless a piece is being written."""
        with self._lock:
            if digest in self._busy:
                return False
            self.partial(digest).unlink(missing_ok=True)
            return True


class Piece:
    """One piece being written. ``upload`` is the progress before it, and after `close` with it."""

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
                self.upload = self._store.advance(self.upload, self.upload.offset + self._written)
            return self.upload
        finally:
            self._store.release(self.upload.id)


def digest_of(content: bytes) -> str:
    """The id of a sample with this content."""
    return hashlib.sha256(content).hexdigest()
