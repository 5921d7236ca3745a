"""The registry: versions are immutable, only their state changes.

- A version is added once, from a bundle whose digests hold and whose golden cases pass. Adding the
  same bundle again changes nothing; another bundle under the same version is refused.
- States: ``candidate``, ``approved`` (by the gate or a person), ``refused``, ``production``,
  ``retired``. One version per app is in production; when another takes over, the former is retired.
- The starter of an app is part of its history without being stored: it is in production until a rollout has
  finished, and the oldest ancestor of models trained from it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine
from sqlmodel import Session

from cloud_backend.registry.bundles import BundleFolder
from cloud_backend.registry.golden import check_golden
from cloud_backend.registry.lineage import lineage_of
from cloud_backend.registry.starters import Starters
from cloud_backend.registry.version_rows import VersionRows
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import ModelVersion
from common.app.spec import AppSpec, installed_apps
from common.bundle import MANIFEST, Bundle, file_digest, open_bundle
from common.clock import Clock
from common.errors import RegistryError, VersionUnknown
from common.messages import NAME_PATTERN

STATES = ("candidate", "approved", "refused", "production", "retired")


class Registry:
    """The versions of all apps. Safe to use from several threads of one cloud process.

    ``root`` is a folder or an fsspec URL; ``apps`` the installed ones by default.
    """

    def __init__(
        self,
        engine: Engine,
        root: str,
        *,
        apps: Mapping[str, AppSpec] | None = None,
        clock: Clock = time.time_ns,
        cache: Path | None = None,
    ) -> None:
        self._engine = engine
        self._reader = read_only(engine)
        self._bundles = BundleFolder(root, cache)
        self._apps = dict(installed_apps() if apps is None else apps)
        self._starters = Starters(self._apps)
        self._clock = clock
        self._lock = threading.Lock()

    def add(
        self, bundle_path: Path, *, job: str = "", state: str = "candidate", approved_by: str = ""
    ) -> ModelVersion:
        """Store the bundle in ``bundle_path``.

        Raises `BundleError` if it is incomplete or fails its golden cases, and `RegistryError` for an
        unknown app, a name that cannot be a version, or a version that is taken by another bundle.
        """
        bundle = open_bundle(bundle_path)
        manifest = bundle.manifest
        self._check_app(manifest.app)
        _check_state(state)
        if not NAME_PATTERN.fullmatch(manifest.version):
            raise RegistryError(f"{manifest.version!r} cannot name a version: use a-z, 0-9, '.', '_' and '-'")
        digest = file_digest(bundle.path / MANIFEST)
        check_golden(bundle)
        with self._lock, Session(self._engine, expire_on_commit=False) as session:
            known = self._rows(session).find(manifest.app, manifest.version)
            if known is not None:
                if known.manifest_digest == digest:
                    return known
                raise RegistryError(
                    f"{manifest.app} {manifest.version} is already there with other content: "
                    "versions never change: give the new model a new one"
                )
            self._bundles.put(bundle)
            row = ModelVersion(
                app=manifest.app,
                version=manifest.version,
                state=state,
                manifest=msgspec.to_builtins(manifest),
                manifest_digest=digest,
                parent=manifest.lineage.parent,
                job=job or manifest.lineage.job,
                approved_by=approved_by or manifest.lineage.approved_by,
                created_ns=self._clock(),
            )
            session.add(row)
            session.commit()
            return row

    def row(self, app: str, version: str) -> ModelVersion:
        """The row of a version, the starter's included. Raises `RegistryError`."""
        self._check_app(app)
        with Session(self._reader) as session:
            return self._rows(session).known(app, version)

    def bundle(self, app: str, version: str) -> Bundle:
        """The bundle of a version, verified. Raises `RegistryError` and `BundleError`."""
        self._check_app(app)
        with Session(self._reader) as session:
            stored = session.get(ModelVersion, (app, version))
            digest = stored.manifest_digest if stored else None
        if digest is None:
            starter = self._starters.bundle(app)
            if starter is None or starter.version != version:
                raise VersionUnknown(f"{app} has no model {version!r}: `edgeloop model ls {app}` lists them")
            return starter
        bundle = self._bundles.get(app, version)
        if file_digest(bundle.path / MANIFEST) != digest:
            raise RegistryError(f"the stored manifest of {app} {version} was altered: restore it from a copy")
        return bundle

    def models(self, app: str) -> list[ModelVersion]:
        """The newest 1000 versions of an app, newest first, and its starter (`VersionRows.newest`)."""
        self._check_app(app)
        with Session(self._reader) as session:
            return self._rows(session).newest(app)

    def starter(self, app: str) -> ModelVersion | None:
        """The row of the app's starter, if it has one."""
        with Session(self._reader) as session:
            return self._rows(session).starter(app)

    def approve(self, app: str, version: str, *, by: str, reason: str) -> None:
        """Approve a candidate, or one that the gate refused, by hand; name and reason stay in its record.

        Raises `RegistryError` for an unknown version, or without a name or a reason.
        """
        if not by.strip() or not reason.strip():
            raise RegistryError("an approval by hand needs the name of the approver and a reason")
        self._change(app, version, "approved", {"approved_by": by.strip(), "approval_reason": reason.strip()})

    def set_state(self, app: str, version: str, state: str) -> None:
        """Change the state of a version. ``production`` retires the one that was in production.

        Raises `RegistryError` for an unknown version or state.
        """
        self._change(app, version, state, {})

    def _change(self, app: str, version: str, state: str, approval: Mapping[str, str]) -> None:
        _check_state(state)
        with self._lock, Session(self._engine) as session:
            self._rows(session).change(app, version, state, approval)
            session.commit()

    def production_version(self, app: str) -> str:
        """The version in production; empty for the starter."""
        with Session(self._reader) as session:
            return self._rows(session).production(app)

    def production(self, app: str) -> Bundle:
        """The bundle in production: the starter until a rollout has finished.

        Raises `RegistryError` if the app has neither.
        """
        self._check_app(app)
        version = self.production_version(app)
        if version:
            return self.bundle(app, version)
        starter = self._starters.bundle(app)
        if starter is None:
            raise RegistryError(
                f"{app} has no model in production and comes with no starter: add a first model"
            )
        return starter

    def lineage(self, app: str, version: str) -> list[dict[str, Any]]:
        """The version and its ancestors, nearest first (`lineage_of`). Raises `RegistryError`."""
        self._check_app(app)
        with Session(self._reader) as session:
            rows = self._rows(session)
            return lineage_of(rows.known(app, version), lambda parent: rows.find(app, parent))

    def next_version(self, app: str) -> str:
        """The next unused version: ``<yyyymmdd>.<nnn>`` of today, in order of creation."""
        self._check_app(app)
        day = datetime.fromtimestamp(self._clock() / 1e9, UTC).strftime("%Y%m%d")
        with Session(self._reader) as session:
            last = self._rows(session).last_number(app, day)
        return f"{day}.{last + 1:03d}"

    def _check_app(self, app: str) -> None:
        if app not in self._apps:
            known = ", ".join(sorted(self._apps)) or "none"
            raise RegistryError(f"no app is called {app!r}; installed: {known}")

    def _rows(self, session: Session) -> VersionRows:
        return VersionRows(session, self._starters)


def _check_state(state: str) -> None:
    if state not in STATES:
        raise RegistryError(f"{state!r} is not a state of a model: {', '.join(STATES)}")
