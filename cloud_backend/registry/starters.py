"""Starter models: the bundle that comes with each app, as a version that is not stored."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlmodel import Session

from cloud_backend.store.tables import AppState, ModelVersion
from common.app.spec import AppSpec
from common.bundle import MANIFEST, Bundle, file_digest, open_bundle
from common.errors import BundleError, RegistryError


class Starters:
    """The starters of ``apps``."""

    def __init__(self, apps: Mapping[str, AppSpec]) -> None:
        self._apps = apps

    def bundle(self, app: str) -> Bundle | None:
        """The starter of an app; None for an app without one. Raises `RegistryError` for a damaged one."""
        spec = self._apps.get(app)
        if spec is None or not (spec.starter / MANIFEST).is_file():
            return None
        try:
            return open_bundle(spec.starter, app=app)
        except BundleError as error:
            raise RegistryError(
                f"the starter model of {app} is damaged ({error}): install it again"
            ) from error

    def row(self, session: Session, app: str) -> ModelVersion | None:
        """The starter as a version: in production until a rollout has finished, retired after it."""
        bundle = self.bundle(app)
        if bundle is None:
            return None
        known = session.get(AppState, app)
        in_production = known is None or not known.production
        return ModelVersion(
            app=app,
            version=bundle.version,
            state="production" if in_production else "retired",
            manifest=msgspec.to_builtins(bundle.manifest),
            manifest_digest=file_digest(bundle.path / MANIFEST),
            parent="",
            job=bundle.manifest.lineage.job,
            approved_by=bundle.manifest.lineage.approved_by or "edgeloop",
            created_ns=0,
        )
