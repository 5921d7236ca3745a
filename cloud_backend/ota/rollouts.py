"""Rollouts: from a version in the registry to a deployment document, wave by wave.

The store says what should be (the rollouts' rows and each app's production version); the signed document
in the update repository is derived from it, and published whenever the two differ. So a crash between
the two, at any moment, is put right by the next `Rollouts.tick`. A document gets its serial when it is
published, and the serial only grows.

A rollout without constraint ends with its version in production. One with a constraint (a site, a
profile, a tag) leaves production alone and stands as a wave of its own until a later rollout without a
constraint is done, or it is reverted.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from sqlalchemy import Engine, func
from sqlmodel import Session, col, select

from cloud_backend.ota.node_status import member_of
from cloud_backend.ota.repository import Repository
from cloud_backend.ota.waves import (
    Action,
    Decision,
    Member,
    NodeReport,
    Outcome,
    WaveRules,
    choose_rollout,
    decide,
    nodes_of,
)
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import Adoption, AppState, ModelVersion, Node, RolloutRow
from common.bundle import Bundle
from common.clock import Clock, anchored_clock
from common.config.cloud import RolloutSettings
from common.deployment import SERIAL_LIMIT, SOAK_LIMIT_S, Constraint, Deployment, NodeTraits, Wave, matches
from common.errors import EdgeloopError, RolloutError

log = logging.getLogger(__name__)

ACTIVE = ("running", "halted")
WITHDRAWN_LIMIT = 16
REPORTS_EVERY_NS = 5_000_000_000
"""Time between looks at the versions that nodes report."""
PUBLICATIONS_PER_S = 10
"""More publications a second than any cloud makes for long."""
LEAST_MARGIN = 1000
"""Least that versions are raised by after a restore."""
RESTORED_ROOTS = 8
"""Versions of the root that are skipped after a restore: one is added by each rotation and each year."""
TELLING_STEPS = ("confirmed", "reverted", "refused")


class Models(Protocol):
    """What rollouts need of the registry."""

    def bundle(self, app: str, version: str) -> Bundle: ...

    def set_state(self, app: str, version: str, state: str) -> None: ...


Hint = Callable[[str, str, str], None]
"""``(site, node, look)``: tells one node to look now."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rollout is: the outcome of each node of its present wave."""

    id: str
    app: str
    version: str
    state: str
    wave: int
    waves: list[float]
    serial: int
    reason: str
    outcomes: dict[str, Outcome]

    def count(self, outcome: Outcome) -> int:
        return sum(found == outcome for found in self.outcomes.values())


class Rollouts:
    """Starts, follows, halts and reverts rollouts. Safe to use from the API's threads and the steward."""

    def __init__(
        self,
        engine: Engine,
        repository: Repository,
        registry: Models,
        settings: RolloutSettings,
        hint: Hint,
        clock: Clock | None = None,
    ) -> None:
        self._engine = engine
        self._reader = read_only(engine)
        self._repository = repository
        self._registry = registry
        self._settings = settings
        self._hint = hint
        self._clock = clock or anchored_clock()
        self.started_ns = self._clock()
        """Nobody's silence is counted before this."""
        self._lock = threading.RLock()
        self._reports_due_ns = 0

    def raise_after_restore(self, backup_ns: int) -> None:
        """Raise what nodes may have seen in versions and serials since the backup was taken."""
        elapsed_s = max(0, self._clock() - backup_ns) // 1_000_000_000
        margin = LEAST_MARGIN + PUBLICATIONS_PER_S * elapsed_s
        with self._lock:
            with Session(self._engine) as session:
                for state in session.exec(select(AppState)).all():
                    state.serial += margin
                    session.add(state)
                session.commit()
            roots = self._repository.root_version + RESTORED_ROOTS
            self._repository.raise_versions(self._repository.version + margin, roots)
        log.warning("restored from a backup: versions of the update repository are raised by %d", margin)

    def start(
        self,
        app: str,
        version: str,
        waves: Sequence[float] = (1.0,),
        soak_s: float | None = None,
        constraint: Constraint | None = None,
        settings: dict[str, Any] | None = None,
    ) -> str:
        """Begin to roll out ``version`` and give the rollout's identity.

        ``waves`` are growing shares of the nodes that meet ``constraint``, the last one 1. Changes to the
        app's ``settings`` reach all nodes when the rollout is done. Raises `RolloutError`.
        """
        shares = [float(share) for share in waves]
        if not shares or shares[-1] != 1.0 or shares[0] <= 0 or sorted(set(shares)) != shares:
            raise RolloutError(f"waves {list(waves)} must be growing shares above 0, the last one 1")
        bound = constraint or Constraint()
        soak = soak_s if soak_s is not None else self._settings.soak_s
        if not 0 < soak <= SOAK_LIMIT_S:
            raise RolloutError(f"a soak of {soak:.3g} s: more than 0 and at most {SOAK_LIMIT_S:.0f} s")
        with self._lock:
            self._registry.bundle(app, version)
            with Session(self._engine) as session:
                self._check_start(session, app, version)
                state = _app_state(session, app)
                now_ns = max(self._clock(), _newest(session, app).created_ns + 1)
                nodes = [node.name for node in self._known_nodes(session, app, now_ns) if _is_in(node, bound)]
                identity, shares[0] = choose_rollout(
                    lambda: f"{version[:40]}-{secrets.token_hex(4)}", shares[0], nodes
                )
                row = RolloutRow(
                    id=identity,
                    app=app,
                    version=version,
                    previous_version=state.production,
                    state="running",
                    waves=shares,
                    constraint=msgspec.to_builtins(bound),
                    settings=settings if settings is not None else self._settings_of(session, app),
                    soak_s=soak,
                    created_ns=now_ns,
                    wave_started_ns=now_ns,
                )
                session.add(row)
                session.commit()
            self._publish(app)
            log.info("rollout %s of %s %s begins, waves %s", identity, app, version, shares)
        return identity

    def halt(self, rollout: str, reason: str = "") -> None:
        """Stop at the present wave: nodes that have the version keep it, no more get it."""
        with self._lock, Session(self._engine) as session:
            row = _row(session, rollout)
            if row.state != "running":
                raise RolloutError(f"rollout {rollout} is {row.state}; only a running one can be halted")
            row.state, row.reason = "halted", reason or "halted by a person"
            session.commit()

    def revert(self, rollout: str, reason: str = "") -> None:
        """Send the nodes back to the version before. Raises `RolloutError` if another came after it."""
        with self._lock:
            with Session(self._reader, expire_on_commit=False) as session:
                row = _row(session, rollout)
                if row.state == "reverted":
                    raise RolloutError(f"rollout {rollout} was reverted already")
                if row.state == "done" and _newest(session, row.app).id != rollout:
                    raise RolloutError(f"another rollout came after {rollout}: revert that one")
            self._take_back(row, reason or "reverted by a person")

    def progress(self, rollout: str) -> Progress:
        """How far a rollout is. Raises `RolloutError` for an unknown one."""
        with self._lock, Session(self._reader) as session:
            row = _row(session, rollout)
            decision = self._decide(session, row)
            return Progress(
                row.id,
                row.app,
                row.version,
                row.state,
                row.wave,
                row.waves,
                row.serial,
                row.reason,
                decision.outcomes if decision else {},
            )

    def tick(self) -> None:
        """Bring every running rollout forward, and every app's document up to date."""
        with self._lock:
            if self._clock() >= self._reports_due_ns:
                self._reports_due_ns = self._clock() + REPORTS_EVERY_NS
                self._keep_above_reports()
            with Session(self._reader, expire_on_commit=False) as session:
                running = list(session.exec(select(RolloutRow).where(RolloutRow.state == "running")))
                apps = sorted(session.exec(select(RolloutRow.app).distinct()))
            for row in running:
                self._trying(row.app, lambda row=row: self._step(row))
            for app in apps:
                self._trying(app, lambda app=app: self._publish(app))

    def _keep_above_reports(self) -> None:
        """Raise versions and serials above what nodes have seen, where this cloud was put back to an
        earlier day.

        A report is believed up to the present time in seconds: no repository makes a version a second, so a
        node that lies does no harm.
        """
        limit = self._clock() // 1_000_000_000
        with Session(self._reader) as session:
            metadata = session.exec(_highest(Node.metadata_version, limit)).one() or 0
            root = session.exec(_highest(Node.root_version, self._repository.root_version + 16)).one() or 0
            serials = {
                app: session.exec(_highest(Node.deployment_serial, limit).where(Node.app == app)).one() or 0
                for app in self._repository.apps()
            }
            behind = {app: s for app, s in serials.items() if s > _app_state(session, app).serial}
        if metadata > self._repository.version or root > self._repository.root_version:
            log.error("nodes have seen newer update metadata than this cloud has: raising its versions")
            self._repository.raise_versions(metadata, root)
        if behind:
            with Session(self._engine) as session:
                for app, serial in behind.items():
                    log.error("nodes have seen serial %d of %s, which this cloud does not know", serial, app)
                    state = _app_state(session, app)
                    state.serial = serial
                    session.add(state)
                session.commit()

    # -------------------------------------------------------------------------------------- decisions

    def _trying(self, app: str, do: Callable[[], None]) -> None:
        """One app's trouble does not hold up the others; it is tried again at the next tick."""
        try:
            do()
        except EdgeloopError as error:
            log.error("the rollout of %s cannot go on: %s", app, error)

    def _step(self, row: RolloutRow) -> None:
        with Session(self._reader) as session:
            decision = self._decide(session, row)
        if decision is None or decision.action is Action.WAIT:
            return
        if decision.action is Action.REVERT:
            log.warning("rollout %s is reverted: %s", row.id, decision.reason)
            self._take_back(row, decision.reason)
            return
        if decision.action is Action.FINISH and not _is_bound(row):
            self._registry.set_state(row.app, row.version, "production")
        with Session(self._engine) as session:
            stored = _row(session, row.id)
            if decision.action is Action.FINISH:
                stored.state, stored.ended_ns = "done", self._clock()
            else:
                stored.wave += 1
                stored.wave_started_ns = self._clock()
            log.info("rollout %s: wave %d is done, %s", row.id, row.wave + 1, decision.action)
            session.commit()

    def _decide(self, session: Session, row: RolloutRow) -> Decision | None:
        """None while the document of the present wave is not published yet."""
        published = self._repository.deployment(row.app)
        wave = _wave(row)
        if published is None or published.rollout != row.id or wave not in published.waves:
            return None
        nodes = {node.name: node for node in self._known_nodes(session, row.app, row.created_ns)}
        inside = nodes_of(published, row.version, row.id, [_traits(node) for node in nodes.values()])
        begun_ns = max(row.wave_started_ns, self.started_ns)
        members = [_member(nodes[traits.node], begun_ns) for traits in inside]
        rules = WaveRules(
            row.wave, len(row.waves), row.soak_s, self._settings.silence_s, self._settings.failure_share
        )
        return decide(rules, members, reports_of(session, row), self._clock())

    def _take_back(self, row: RolloutRow, reason: str) -> None:
        if row.state == "done" and not _is_bound(row):
            self._registry.set_state(row.app, row.previous_version, "production")
        with Session(self._engine) as session:
            stored = _row(session, row.id)
            stored.state, stored.reason, stored.ended_ns = "reverted", reason, self._clock()
            session.commit()
            app, version = stored.app, stored.version
        self._publish(app)
        try:
            self._registry.set_state(app, version, "refused")
        except EdgeloopError as error:
            log.warning("the registry does not mark %s %s as refused: %s", app, version, error)

    def _check_start(self, session: Session, app: str, version: str) -> None:
        if app not in self._repository.apps():
            raise RolloutError(
                f"there is no app {app!r} here; installed: {', '.join(self._repository.apps())}"
            )
        active = session.exec(
            select(RolloutRow).where(RolloutRow.app == app, col(RolloutRow.state).in_(ACTIVE))
        ).first()
        if active is not None:
            raise RolloutError(f"rollout {active.id} of {app} is {active.state}: revert it first")
        model = session.get(ModelVersion, (app, version))
        if model is None:
            raise RolloutError(f"{app} has no model {version!r}: `edgeloop model ls {app}` lists them")
        if model.state not in ("approved", "production", "retired"):
            raise RolloutError(
                f"{app} {version} is {model.state}; only an approved model can be rolled out: "
                "`edgeloop model promote --reason` approves it by hand"
            )
        if _app_state(session, app).production == version:
            raise RolloutError(f"{app} {version} is in production already")

    # --------------------------------------------------------------------------------------- document

    def _publish(self, app: str) -> None:
        """Publish the document that the store asks for, if another one stands in the repository."""
        published = self._repository.deployment(app)
        with Session(self._reader) as session:
            wanted = self._document(session, app)
            known = _app_state(session, app).serial
        if published is not None and published.serial > SERIAL_LIMIT:
            published = None
        if wanted is None or (
            published is not None
            and published.serial >= known
            and msgspec.structs.replace(wanted, serial=published.serial) == published
        ):
            return
        with Session(self._engine) as session:
            state = _app_state(session, app)
            state.serial = max(state.serial, published.serial if published else 0) + 1
            session.add(state)
            newest = _newest(session, app)
            newest.serial = state.serial
            document = msgspec.structs.replace(wanted, serial=state.serial)
            keep = {newest.previous_version, newest.version} - {""}
            in_service = select(Node).where(Node.app == app, Node.retired_ns == 0)
            nodes = [(n.site, n.name) for n in session.exec(in_service)]
            session.commit()
        self._hand_over(app, document, keep)
        for site, node in nodes:
            self._hint(site, node, "deployment")

    def _hand_over(self, app: str, document: Deployment, keep: set[str]) -> None:
        """Publish ``document`` with every bundle that it needs and the repository lacks."""
        named = {document.base_version, *(wave.version for wave in document.waves)} - {""}
        missing = sorted(named - set(self._repository.versions(app)))
        bundles = [self._registry.bundle(app, version) for version in missing]
        self._repository.publish(app, None, document, others=bundles, keep=keep)

    def _document(self, session: Session, app: str) -> Deployment | None:
        """What the store asks for; None where nothing was ever rolled out."""
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
        standing: list[RolloutRow] = []
        for row in done:
            if not _is_bound(row):
                break
            standing.append(row)
        production = _app_state(session, app).production
        wanted = {production, *(row.version for row in (*active, *standing))}
        withdrawn = [r.version for r in rows if r.state == "reverted" and r.version not in wanted]
        return Deployment(
            app=app,
            serial=0,
            rollout=rows[0].id,
            base_version=production,
            waves=[_wave(row) for row in (*active, *standing)],
            soak_s=rows[0].soak_s,
            settings=done[0].settings if done else {},
            withdrawn=sorted(set(withdrawn))[:WITHDRAWN_LIMIT],
        )

    def _settings_of(self, session: Session, app: str) -> dict[str, Any]:
        document = self._document(session, app)
        return document.settings if document else {}

    def _known_nodes(self, session: Session, app: str, since_ns: int) -> list[Node]:
        """Nodes of an app in service that were seen within ``absent_s`` before ``since_ns``, or later."""
        oldest_ns = since_ns - int(self._settings.absent_s * 1e9)
        known = (Node.app == app, Node.retired_ns == 0, col(Node.last_seen_ns) >= oldest_ns)
        return list(session.exec(select(Node).where(*known)))


def _row(session: Session, rollout: str) -> RolloutRow:
    row = session.get(RolloutRow, rollout)
    if row is None:
        raise RolloutError(f"there is no rollout {rollout!r}: `edgeloop rollout status` lists them")
    return row


def _newest(session: Session, app: str) -> RolloutRow:
    query = select(RolloutRow).where(RolloutRow.app == app).order_by(col(RolloutRow.created_ns).desc())
    return session.exec(query).first() or RolloutRow(app=app, created_ns=0)


def _app_state(session: Session, app: str) -> AppState:
    return session.get(AppState, app) or AppState(app=app)


def _wave(row: RolloutRow) -> Wave:
    share = 1.0 if row.state == "done" else row.waves[min(row.wave, len(row.waves) - 1)]
    return Wave(row.version, share, msgspec.convert(row.constraint, Constraint))


def _is_bound(row: RolloutRow) -> bool:
    return msgspec.convert(row.constraint, Constraint) != Constraint()


def _traits(node: Node) -> NodeTraits:
    return NodeTraits(node.name, node.site, node.profile, tuple(node.tags))


def _is_in(node: Node, constraint: Constraint) -> bool:
    return matches(constraint, _traits(node))


def _highest(column: Any, limit: int) -> Any:
    """The highest value of a column of the nodes in service, of those up to ``limit``."""
    return select(func.max(column)).where(Node.retired_ns == 0, col(column) <= limit)


def _member(node: Node, begun_ns: int) -> Member:
    since_ns = max(begun_ns, node.enrolled_ns)
    return member_of(node.name, since_ns, node.last_seen_ns, node.update_problem)


def reports_of(session: Session, row: RolloutRow) -> list[NodeReport]:
    """What nodes reported about a rollout's version, in order.

    A node whose newest health says that it runs the version because of this rollout, confirmed, has adopted
    it even where its report is not here (a store that was restored from a backup).
    """
    query = (
        select(Adoption)
        .where(
            Adoption.rollout == row.id,
            Adoption.version == row.version,
            col(Adoption.step).in_(TELLING_STEPS),
        )
        .order_by(col(Adoption.received_ns), col(Adoption.stream_id), col(Adoption.seq))
    )
    reports = [NodeReport(found.node, found.step, found.reason) for found in session.exec(query)]
    running = select(Node.name).where(
        Node.app == row.app, Node.rollout == row.id, Node.version == row.version, col(Node.confirmed)
    )
    reported = {report.node for report in reports}
    return reports + [NodeReport(node, "confirmed") for node in session.exec(running) if node not in reported]
