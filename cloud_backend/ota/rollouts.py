"""Rollouts: from a version in the registry to a deployment document, wave by wave.

The rows in the store are the truth; `cloud_backend.ota.published_documents` derives the signed document from
them, and `Rollouts.tick` corrects any difference that a crash left.

A rollout without constraint ends with its version in production. One with a constraint (a site, a
profile, a tag) leaves production alone and remains a wave of its own until a later rollout without a
constraint is done, or it is reverted.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from cloud_backend.ota.published_documents import DocumentPublisher, Hint, Models, settings_of
from cloud_backend.ota.repository import Repository
from cloud_backend.ota.rollout_rows import (
    ACTIVE,
    app_state,
    has_constraint,
    known_nodes,
    newest_rollout,
    reports_of,
    rollout_row,
    traits_of,
    wave_member,
    wave_of,
)
from cloud_backend.ota.waves import (
    Action,
    Decision,
    Outcome,
    WaveRules,
    choose_rollout,
    decide,
    nodes_of,
)
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import ModelVersion, RolloutRow
from common.clock import Clock, anchored_clock
from common.config.cloud import RolloutSettings
from common.deployment import SOAK_LIMIT_S, Constraint, matches
from common.errors import EdgeloopError, RolloutError

log = logging.getLogger(__name__)

REPORTS_EVERY_NS = 5_000_000_000
"""Time between checks of the versions that nodes report."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a rollout: the outcome of each node of its present wave."""

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
    """Starts, follows, halts and reverts rollouts. Safe to use from several threads."""

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
        self._clock = clock or anchored_clock()
        self._documents = DocumentPublisher(engine, repository, registry, hint, self._clock)
        self.started_ns = self._clock()
        """Start of the cloud; silence of a node counts from here at the earliest."""
        self._lock = threading.RLock()
        self._reports_due_ns = 0

    def raise_after_restore(self, backup_ns: int) -> None:
        """Raise versions and serials above all that nodes can have seen since the backup was taken."""
        with self._lock:
            self._documents.raise_after_restore(backup_ns)

    def rotate_keys(self, role: str) -> None:
        """Replace the keys of a role; versions end above all that nodes report. Raises `RegistryError`."""
        with self._lock:
            self._documents.rotate_keys(role)

    def start(
        self,
        app: str,
        version: str,
        waves: Sequence[float] = (1.0,),
        soak_s: float | None = None,
        constraint: Constraint | None = None,
        settings: dict[str, Any] | None = None,
    ) -> str:
        """Start a rollout of ``version``; its id.

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
                _check_start(session, self._repository.apps(), app, version)
                state = app_state(session, app)
                now_ns = max(self._clock(), newest_rollout(session, app).created_ns + 1)
                nodes = [
                    node.name
                    for node in known_nodes(session, app, now_ns, self._settings.max_absence_s)
                    if matches(bound, traits_of(node))
                ]
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
                    settings=settings if settings is not None else settings_of(session, app),
                    soak_s=soak,
                    created_ns=now_ns,
                    wave_started_ns=now_ns,
                )
                session.add(row)
                session.commit()
            self._documents.publish(app)
            log.info("rollout %s of %s %s begins, waves %s", identity, app, version, shares)
        return identity

    def halt(self, rollout: str, reason: str = "") -> None:
        """Stop at the present wave: nodes that have the version keep it, no more get it."""
        with self._lock, Session(self._engine) as session:
            row = rollout_row(session, rollout)
            if row.state != "running":
                raise RolloutError(f"rollout {rollout} is {row.state}; only a running one can be halted")
            row.state, row.reason = "halted", reason or "halted by a person"
            session.commit()

    def revert(self, rollout: str, reason: str = "") -> None:
        """Return the nodes to the version before. Raises `RolloutError` if another came after it."""
        with self._lock:
            with Session(self._reader, expire_on_commit=False) as session:
                row = rollout_row(session, rollout)
                if row.state == "reverted":
                    raise RolloutError(f"rollout {rollout} was reverted already")
                if row.state == "done" and newest_rollout(session, row.app).id != rollout:
                    raise RolloutError(f"another rollout came after {rollout}: revert that one")
            self._take_back(row, reason or "reverted by a person")

    def progress(self, rollout: str) -> Progress:
        """Progress of a rollout. Raises `RolloutError` for an unknown one."""
        with self._lock, Session(self._reader) as session:
            row = rollout_row(session, rollout)
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
                self._documents.raise_above_reports()
            with Session(self._reader, expire_on_commit=False) as session:
                running = list(session.exec(select(RolloutRow).where(RolloutRow.state == "running")))
                apps = sorted(session.exec(select(RolloutRow.app).distinct()))
            for row in running:
                self._trying(row.app, lambda row=row: self._step(row))
            for app in apps:
                self._trying(app, lambda app=app: self._documents.publish(app))

    # -------------------------------------------------------------------------------------- decisions

    def _trying(self, app: str, do: Callable[[], None]) -> None:
        """Isolate an app's error from the others; the next tick tries again."""
        try:
            do()
        except EdgeloopError as error:
            log.error("the rollout of %s is stopped: %s", app, error)

    def _step(self, row: RolloutRow) -> None:
        with Session(self._reader) as session:
            decision = self._decide(session, row)
        if decision is None or decision.action is Action.WAIT:
            return
        if decision.action is Action.REVERT:
            log.warning("rollout %s is reverted: %s", row.id, decision.reason)
            self._take_back(row, decision.reason)
            return
        if decision.action is Action.FINISH and not has_constraint(row):
            self._registry.set_state(row.app, row.version, "production")
        with Session(self._engine) as session:
            stored = rollout_row(session, row.id)
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
        wave = wave_of(row)
        if published is None or published.rollout != row.id or wave not in published.waves:
            return None
        nodes = {
            node.name: node
            for node in known_nodes(session, row.app, row.created_ns, self._settings.max_absence_s)
        }
        inside = nodes_of(published, row.version, row.id, [traits_of(node) for node in nodes.values()])
        begun_ns = max(row.wave_started_ns, self.started_ns)
        members = [wave_member(nodes[traits.node], begun_ns) for traits in inside]
        rules = WaveRules(
            row.wave, len(row.waves), row.soak_s, self._settings.silence_s, self._settings.failure_share
        )
        return decide(rules, members, reports_of(session, row), self._clock())

    def _take_back(self, row: RolloutRow, reason: str) -> None:
        if row.state == "done" and not has_constraint(row):
            self._registry.set_state(row.app, row.previous_version, "production")
        with Session(self._engine) as session:
            stored = rollout_row(session, row.id)
            stored.state, stored.reason, stored.ended_ns = "reverted", reason, self._clock()
            session.commit()
            app, version = stored.app, stored.version
        self._documents.publish(app)
        try:
            self._registry.set_state(app, version, "refused")
        except EdgeloopError as error:
            log.warning("the registry does not mark %s %s as refused: %s", app, version, error)


def _check_start(session: Session, apps: Sequence[str], app: str, version: str) -> None:
    if app not in apps:
        raise RolloutError(f"there is no app {app!r} here; installed: {', '.join(apps)}")
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
    if app_state(session, app).production == version:
        raise RolloutError(f"{app} {version} is in production already")
