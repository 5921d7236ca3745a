"""Signed deployment documents, derived from the store: rows of rollouts and each app's production version.

A document is published whenever the store and the update repository differ, so a crash between the two, at
any moment, is corrected by the next call. A document gets its serial at publication, and the serial only
grows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from sqlalchemy import Engine, func
from sqlmodel import Session, col, select

from cloud_backend.ota.repository import Repository
from cloud_backend.ota.rollout_rows import (
    ACTIVE,
    app_state,
    has_constraint,
    newest_rollout,
    wave_of,
)
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import AppState, Node, RolloutRow
from common.bundle import Bundle
from common.clock import Clock
from common.deployment import SERIAL_LIMIT, Deployment

log = logging.getLogger(__name__)

WITHDRAWN_LIMIT = 16
PUBLICATIONS_PER_S = 10
"""More publications a second than any cloud makes for long."""
MIN_MARGIN = 1000
"""Smallest increase of versions after a restore."""
ROTATION_MARGIN = 1000
"""Versions that a rotation of keys leaves out, for what nodes have seen and not reported."""
RESTORED_ROOTS = 8
"""Versions of the root that are skipped after a restore: one is added by each rotation and each year."""

Hint = Callable[[str, str, str], None]
"""``(site, node, action)``: makes one node check now."""


class Models(Protocol):
    """The part of the registry that rollouts use."""

    def bundle(self, app: str, version: str) -> Bundle: ...

    def set_state(self, app: str, version: str, state: str) -> None: ...


class DocumentPublisher:
    """Keeps the repository's documents equal to the store. One thread uses it at a time."""

    def __init__(
        self, engine: Engine, repository: Repository, registry: Models, hint: Hint, clock: Clock
    ) -> None:
        self._engine = engine
        self._reader = read_only(engine)
        self._repository = repository
        self._registry = registry
        self._hint = hint
        self._clock = clock

    def publish(self, app: str) -> None:
        """Publish the document of the store, if the repository has another one, and notify the nodes."""
        published = self._repository.deployment(app)
        with Session(self._reader) as session:
            wanted = document_of(session, app)
            known = app_state(session, app).serial
        if published is not None and published.serial > SERIAL_LIMIT:
            published = None
        if wanted is None or (
            published is not None
            and published.serial >= known
            and msgspec.structs.replace(wanted, serial=published.serial) == published
        ):
            return
        with Session(self._engine) as session:
            state = app_state(session, app)
            state.serial = max(state.serial, published.serial if published else 0) + 1
            session.add(state)
            newest = newest_rollout(session, app)
            newest.serial = state.serial
            document = msgspec.structs.replace(wanted, serial=state.serial)
            keep = {newest.previous_version, newest.version} - {""}
            in_service = select(Node).where(Node.app == app, Node.retired_ns == 0)
            nodes = [(n.site, n.name) for n in session.exec(in_service)]
            session.commit()
        self._publish_with_bundles(app, document, keep)
        for site, node in nodes:
            self._hint(site, node, "deployment")

    def raise_after_restore(self, backup_ns: int) -> None:
        """Raise versions and serials above all that nodes can have seen since the backup was taken."""
        elapsed_s = max(0, self._clock() - backup_ns) // 1_000_000_000
        margin = MIN_MARGIN + PUBLICATIONS_PER_S * elapsed_s
        with Session(self._engine) as session:
            for state in session.exec(select(AppState)).all():
                state.serial += margin
                session.add(state)
            session.commit()
        roots = self._repository.root_version + RESTORED_ROOTS
        self._repository.raise_versions(self._repository.version + margin, roots)
        log.warning("restored from a backup: versions of the update repository are raised by %d", margin)

    def rotate_keys(self, role: str) -> None:
        """Replace the keys of a role, and sign everything again far above what nodes report.

        A thief of online keys may have shown a node metadata with the very version that the rotation gets: to
        the node that is no news, and it would keep the thief's. Raises `RegistryError`.
        """
        self._repository.rotate(role)
        limit = self._clock() // 1_000_000_000
        with Session(self._reader) as session:
            reported = session.exec(_highest(Node.metadata_version, limit)).one() or 0
        self._repository.raise_versions(max(reported, self._repository.version) + ROTATION_MARGIN)

    def raise_above_reports(self) -> None:
        """Raise versions and serials above those that nodes report, where a backup was restored.

        A report counts up to the present time in seconds: no repository signs a version a second, so a
        false report does no harm.
        """
        limit = self._clock() // 1_000_000_000
        with Session(self._reader) as session:
            metadata = session.exec(_highest(Node.metadata_version, limit)).one() or 0
            root = session.exec(_highest(Node.root_version, self._repository.root_version + 16)).one() or 0
            serials = {
                app: session.exec(_highest(Node.deployment_serial, limit).where(Node.app == app)).one() or 0
                for app in self._repository.apps()
            }
            behind = {app: s for app, s in serials.items() if s > app_state(session, app).serial}
        if metadata > self._repository.version or root > self._repository.root_version:
            log.error("nodes have newer update metadata than this cloud: raising its versions")
            self._repository.raise_versions(metadata, root)
        if behind:
            with Session(self._engine) as session:
                for app, serial in behind.items():
                    log.error("nodes have serial %d of %s, which is unknown to this cloud", serial, app)
                    state = app_state(session, app)
                    state.serial = serial
                    session.add(state)
                session.commit()

    def _publish_with_bundles(self, app: str, document: Deployment, keep: set[str]) -> None:
        """Publish ``document`` with every bundle that it names and the repository lacks."""
        named = {document.base_version, *(wave.version for wave in document.waves)} - {""}
        missing = sorted(named - set(self._repository.versions(app)))
        bundles = [self._registry.bundle(app, version) for version in missing]
        self._repository.publish(app, None, document, others=bundles, keep=keep)


def document_of(session: Session, app: str) -> Deployment | None:
    """The document that the store implies, without serial; None before an app's first rollout."""
    rows = list(
        session.exec(
            select(RolloutRow)
            .where(RolloutRow.app == app)
            .order_by(col(RolloutRow.created_ns).desc(), col(RolloutRow.id))
            .limit(200)
        )
    )
    if not rows:
        return None
    active = [row for row in rows if row.state in ACTIVE]
    done = [row for row in rows if row.state == "done"]
    constrained: list[RolloutRow] = []
    for row in done:
        if not has_constraint(row):
            break
        constrained.append(row)
    production = app_state(session, app).production
    wanted = {production, *(row.version for row in (*active, *constrained))}
    withdrawn = [r.version for r in rows if r.state == "reverted" and r.version not in wanted]
    return Deployment(
        app=app,
        serial=0,
        rollout=rows[0].id,
        base_version=production,
        waves=[wave_of(row) for row in (*active, *constrained)],
        soak_s=rows[0].soak_s,
        settings=done[0].settings if done else {},
        withdrawn=sorted(set(withdrawn))[:WITHDRAWN_LIMIT],
    )


def settings_of(session: Session, app: str) -> dict[str, Any]:
    """Settings in the document that the store implies."""
    document = document_of(session, app)
    return document.settings if document else {}


def _highest(column: Any, limit: int) -> Any:
    """The highest value up to ``limit`` of a column of the nodes in service."""
    return select(func.max(column)).where(Node.retired_ns == 0, col(column) <= limit)
