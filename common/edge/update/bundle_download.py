"""The bundle of an order in the idle slot: downloaded, the manifest last, or copied from the package.

A bundle never takes disk space that the node's events may still need (``reserve_bytes``), nor the last
`RESERVE_BYTES`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tuf.ngclient import TargetFile

from common import durable
from common.bundle import (
    FILE_LIMIT_BYTES,
    MANIFEST,
    MANIFEST_LIMIT_BYTES,
    Bundle,
    Manifest,
    check_names,
    open_bundle,
    read_manifest,
)
from common.deployment import bundle_target
from common.edge.update.slot_state import Order
from common.edge.update.slots import Slots, clear_slot
from common.edge.update.tuf_client import TrustedRepository
from common.errors import UpdateRefused

_NEXT_MANIFEST = ".next-manifest.json"
RESERVE_BYTES = 16 * 1024 * 1024
"""Space that a bundle leaves free beside what events may need."""


class FinalRefusal(UpdateRefused):
    """A refusal that stands until a newer serial names the version."""


class BundleDownload:
    """Brings bundles of ``app`` into the idle slot; belongs to the update thread."""

    def __init__(
        self, repository: TrustedRepository, app: str, slots: Slots, reserve_bytes: Callable[[], int]
    ) -> None:
        self._repository = repository
        self._app = app
        self._slots = slots
        self._reserve_bytes = reserve_bytes

    def fetch(self, order: Order) -> Bundle:
        """The whole bundle of ``order``. Raises `UpdateRefused`, `BundleError`."""
        idle = self._slots.prepare_idle()
        return self._copy_starter(idle) if order.starter else self._download(order, idle)

    def _download(self, order: Order, idle: Path) -> Bundle:
        """The bundle of ``order`` in the idle slot: each file in place before its manifest is."""
        next_manifest = idle / _NEXT_MANIFEST
        manifest_target = self._signed(order, MANIFEST)
        check_length(manifest_target, MANIFEST_LIMIT_BYTES)
        self._repository.fetch(manifest_target, next_manifest)
        manifest = read_manifest(next_manifest.read_bytes(), manifest_target.path)
        check_names(manifest, manifest_target.path)
        if manifest.app != self._app:
            raise FinalRefusal(
                "wrong_app", f"{order.version} is a model for {manifest.app!r}, not {self._app!r}"
            )
        targets = self._targets(order, manifest)
        clear_slot(idle, frozenset((_NEXT_MANIFEST, *manifest.files, *_partials(targets))))
        for name, target in targets.items():
            self._check_space(idle, sum(_missing_bytes(idle, *each) for each in targets.items()))
            self._repository.fetch(target, idle / name)
        os.replace(next_manifest, idle / MANIFEST)
        durable.sync_folder(idle)
        return open_bundle(idle, app=self._app)

    def _copy_starter(self, idle: Path) -> Bundle:
        self._check_space(idle, self._slots.starter_bytes())
        return self._slots.copy_starter()

    def _check_space(self, folder: Path, wanted_bytes: int) -> None:
        """Raises `UpdateRefused` (``no_space``) where ``wanted_bytes`` would go into the reserve."""
        reserve_bytes = self._reserve_bytes() + RESERVE_BYTES
        free_bytes = shutil.disk_usage(folder).free
        if wanted_bytes and free_bytes < wanted_bytes + reserve_bytes:
            raise UpdateRefused(
                "no_space",
                f"{wanted_bytes} bytes are needed in {folder}, {free_bytes} are free, and {reserve_bytes} of "
                "them are kept for events (outbox.budget_bytes): free some space, or lower the budget",
            )

    def _targets(self, order: Order, manifest: Manifest) -> dict[str, TargetFile]:
        targets: dict[str, TargetFile] = {}
        for name, digest in manifest.files.items():
            path = bundle_target(self._app, order.version, name)
            target = self._repository.target(path)
            if target is None:
                raise FinalRefusal(
                    "extraneous", f"the bundle wants {path}, which its app's role did not sign"
                )
            if target.hashes.get("sha256") != digest:
                raise FinalRefusal("mixed", f"{path} is signed with another digest than its manifest names")
            check_length(target, FILE_LIMIT_BYTES)
            targets[name] = target
        return targets

    def _signed(self, order: Order, name: str) -> TargetFile:
        path = bundle_target(self._app, order.version, name)
        target = self._repository.target(path)
        if target is None:
            raise UpdateRefused("missing", f"the deployment names {path}, which nobody signed")
        return target


def _partials(targets: dict[str, TargetFile]) -> list[str]:
    return [_partial(name, target) for name, target in targets.items()]


def _partial(name: str, target: TargetFile) -> str:
    return f".{name}.{target.hashes['sha256'][:16]}.partial"


def check_length(target: TargetFile, limit: int) -> None:
    if target.length > limit:
        raise UpdateRefused("too_large", f"{target.path} is {target.length} bytes; at most {limit} are taken")


def _missing_bytes(folder: Path, name: str, target: TargetFile) -> int:
    """Remaining bytes of a file of the bundle."""
    if (folder / name).exists():
        return 0
    partial = folder / _partial(name, target)
    return max(0, target.length - (partial.stat().st_size if partial.exists() else 0))
