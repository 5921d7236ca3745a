"""Trusted update metadata of a node: TUF, verified by python-tuf from a pinned root.

The root that the enrolment pins is where trust starts at every check, so damaged local metadata costs
nothing but a download. What must survive damage, the highest versions ever seen, is kept in the slots'
state as `Floors`: older metadata is refused even by a node that lost its metadata folder. Floors hold
for the keys under which they were seen; a new root with other timestamp or snapshot keys starts them
afresh, which is how a fleet recovers from a fast-forward attack (TUF specification, 5.3.11). The floor of
the deployment serial is tied to the keys of the app's role in the same way.

Metadata of a version that is trusted already is discarded (`docs/decisions/0012`). Every error becomes
`UpdateRefused` with one of these reasons:

``unsigned``        no valid signature at all
``key_compromise``  some valid signatures, fewer than the threshold
``rollback``        older than what was seen
``frozen``          expired: somebody keeps newer metadata from this node, or its clock is wrong
``mixed``           files of different publications put together
``altered``         a file differs from what was signed
``endless``         more bytes than were signed for
``slow``            too slow to be honest
``missing``         something that signed metadata names is not there
``malformed``       not readable
``unreachable``     the repository cannot be reached; the only one that is no sign of an attack
"""

# python-tuf documents `tuf.api.metadata` as its API, but does not declare its re-exports.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

from securesystemslib.exceptions import StorageError
from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.ngclient import TargetFile, Updater, UpdaterConfig

from common import durable
from common.edge.update.deployment_serials import Floors
from common.edge.update.fetcher import RepositoryFetcher, fetch_target
from common.errors import UpdateRefused

log = logging.getLogger(__name__)

_SIGNED_BY = re.compile(r"was signed by (\d+)/(\d+) keys")


def signed_until_ns(folder: Path) -> int | None:
    """Expiry of the last verified metadata; None without any."""
    try:
        expires = Metadata[Timestamp].from_file(str(folder / "timestamp.json")).signed.expires
    except (OSError, DeserializationError, StorageError):
        return None
    return round(expires.replace(tzinfo=UTC).timestamp()) * 1_000_000_000


class TrustedRepository:
    """The update repository of a cloud: verified metadata and targets."""

    def __init__(
        self, folder: Path, root: dict[str, Any], url: str, fetcher: RepositoryFetcher, app: str
    ) -> None:
        self._folder = folder
        self._app = app
        self._root = json.dumps(root).encode()
        self._url = url.rstrip("/")
        self._fetcher = fetcher
        self._synced: dict[Path, tuple[int, int]] = {}
        self._updater: Updater | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.is_file() and path.suffix != ".json":
                path.unlink()

    def refresh(self, floors: Floors) -> Floors:
        """Get and verify the newest metadata; returns the new floors. Raises `UpdateRefused`."""
        self._updater = None
        with _refusing("metadata"):
            updater = Updater(
                metadata_dir=str(self._folder),
                metadata_base_url=f"{self._url}/metadata/",
                fetcher=self._fetcher,
                config=UpdaterConfig(),
                bootstrap=self._root,
            )
            updater.refresh()
            seen = self._versions()
        self._sync()
        raised = _raised(floors, seen)
        self._updater = updater
        return raised

    def target(self, path: str) -> TargetFile | None:
        """The signed entry of ``path``; None without a valid signature. Raises `UpdateRefused`."""
        assert self._updater is not None, "refresh first"
        with _refusing(path):
            found = self._updater.get_targetinfo(path)
        self._sync()
        return found

    def fetch(self, target: TargetFile, path: Path) -> None:
        """Download a target to ``path``, whole or not at all. Raises `UpdateRefused`."""
        folder, _, name = target.path.rpartition("/")
        url = f"{self._url}/targets/{folder}/{target.hashes['sha256']}.{name}"
        with _refusing(target.path, is_target=True):
            fetch_target(self._fetcher, url, target, path)

    def _versions(self) -> Floors:
        root = Metadata[Root].from_file(str(self._folder / "root.json")).signed
        timestamp = Metadata[Timestamp].from_file(str(self._folder / "timestamp.json")).signed
        snapshot = Metadata[Snapshot].from_file(str(self._folder / "snapshot.json")).signed
        targets = Metadata[Targets].from_file(str(self._folder / "targets.json")).signed
        keys = sorted([*root.roles["timestamp"].keyids, "/", *root.roles["snapshot"].keyids])
        roles = (targets.delegations.roles if targets.delegations else None) or {}
        app_keys = sorted(roles[self._app].keyids) if self._app in roles else []
        return Floors(root.version, timestamp.version, snapshot.version, _digest(keys), _digest(app_keys))

    def _sync(self) -> None:
        """Sync the files that python-tuf wrote and renamed, so that they survive a power cut."""
        for path in (*self._folder.glob("*.json"), *self._folder.glob("root_history/*.json")):
            found = path.stat()
            mark = (found.st_mtime_ns, found.st_size)
            if self._synced.get(path) != mark:
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                durable.sync_folder(path.parent)
                self._synced[path] = mark


def _digest(keys: list[str]) -> str:
    return hashlib.sha256("\n".join(keys).encode()).hexdigest() if keys else ""


def _raised(floors: Floors, seen: Floors) -> Floors:
    """The higher of what was seen before and now. Raises `UpdateRefused` (``rollback``)."""
    if seen.root < floors.root:
        raise UpdateRefused("rollback", f"root version {seen.root} is older than {floors.root}, already seen")
    if seen.keys == floors.keys:
        for role, now, before in (
            ("timestamp", seen.timestamp, floors.timestamp),
            ("snapshot", seen.snapshot, floors.snapshot),
        ):
            if now < before:
                raise UpdateRefused("rollback", f"{role} version {now} is older than {before}, already seen")
    return seen


@contextmanager
def _refusing(what: str, *, is_target: bool = False) -> Generator[None, None, None]:
    try:
        yield
    except (exceptions.RepositoryError, exceptions.DownloadError) as error:
        raise UpdateRefused(_reason(error, is_target), f"{what}: {_with_causes(error)}") from error


def _reason(error: exceptions.RepositoryError | exceptions.DownloadError, is_target: bool) -> str:
    match error:
        case exceptions.UnsignedMetadataError():
            counts = _SIGNED_BY.search(str(error))
            return "key_compromise" if counts and int(counts.group(1)) > 0 else "unsigned"
        case exceptions.ExpiredMetadataError():
            return "frozen"
        case exceptions.LengthOrHashMismatchError():
            return "altered" if is_target else "mixed"
        case exceptions.BadVersionNumberError():
            text = str(error)
            is_same_set = (text.startswith("Expected") and ", got v" in text) or "Expected snapshot" in text
            return "mixed" if is_same_set else "rollback"
        case DeserializationError():
            return "malformed"
        case exceptions.DownloadLengthMismatchError():
            return "endless"
        case exceptions.SlowRetrievalError():
            return "slow"
        case exceptions.DownloadHTTPError():
            return "missing" if error.status_code == 404 else "unreachable"
        case exceptions.DownloadError():
            return "unreachable"
        case _:
            return "mixed"


def _with_causes(error: BaseException) -> str:
    texts = [str(error) or type(error).__name__]
    cause = error.__cause__
    while cause is not None:
        if str(cause) not in texts[-1]:
            texts.append(str(cause))
        cause = cause.__cause__
    return ": ".join(texts)
