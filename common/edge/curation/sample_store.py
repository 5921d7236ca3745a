"""The samples on the node's disk: a file with the content and a sidecar each, within ``store_bytes``.

Over the limit the least interesting goes first, then the oldest. The caller holds a lock around each call.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from common import durable
from common.edge.curation.upload import Kept

log = logging.getLogger(__name__)


class SampleStore:
    """The samples in ``folder``."""

    def __init__(self, folder: Path, store_bytes: int) -> None:
        """Read what an earlier process has kept; incomplete samples are removed."""
        self._folder = folder
        self._store_bytes = store_bytes
        self._kept: dict[str, Kept] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.glob("*.npz")):
            try:
                kept = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Kept)
                if kept.digest != path.stem or kept.size != path.stat().st_size:
                    raise ValueError("the files do not belong together")
                self._kept[kept.digest] = kept
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                log.warning("sample %s is incomplete and is removed: %s", path, error)
                self.remove(path.stem)

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, digest: str) -> bool:
        return digest in self._kept

    @property
    def samples(self) -> Iterable[Kept]:
        return self._kept.values()

    def add(self, new: Kept, content: bytes, keep: Collection[str]) -> bool:
        """Keep a sample, synced; False if it is the least interesting. Those in ``keep`` make no room."""
        dropped = self._to_drop(new, keep)
        if dropped is None:
            return False
        for kept in dropped:
            log.info("sample %s makes room for a more interesting one", kept.digest[:12])
            self.remove(kept.digest)
        durable.write(self._content(new.digest), content)
        durable.write(self._sidecar(new.digest), msgspec.json.encode(new))
        self._kept[new.digest] = new
        return True

    def content(self, digest: str) -> bytes:
        """Raises ``FileNotFoundError`` if it was removed."""
        return self._content(digest).read_bytes()

    def remove(self, digest: str) -> None:
        """Remove a sample, if it is there."""
        self._kept.pop(digest, None)
        for path in (self._sidecar(digest), self._content(digest)):
            with suppress(FileNotFoundError):
                path.unlink()

    def _to_drop(self, new: Kept, keep: Collection[str]) -> list[Kept] | None:
        """Samples that make room for ``new``; None if its own score is the lowest."""
        total = sum(kept.size for kept in self._kept.values()) + new.size
        candidates = sorted(
            (kept for kept in self._kept.values() if kept.digest not in keep),
            key=lambda kept: (kept.score, kept.captured_ns),
        )
        dropped: list[Kept] = []
        for kept in candidates:
            if total <= self._store_bytes:
                break
            if kept.score > new.score:
                return None
            dropped.append(kept)
            total -= kept.size
        return dropped if total <= self._store_bytes else None

    def _content(self, digest: str) -> Path:
        return self._folder / f"{digest}.npz"

    def _sidecar(self, digest: str) -> Path:
        return self._folder / f"{digest}.json"
