"""Rows of rollouts, and what nodes reported about them, as the rules of waves need it."""

from __future__ import annotations

import msgspec
from sqlmodel import Session, col, select

from cloud_backend.ota.node_status import member_of
from cloud_backend.ota.waves import Member, NodeReport
from cloud_backend.store.tables import Adoption, AppState, Node, RolloutRow
from common.deployment import Constraint, NodeTraits, Wave
from common.errors import RolloutError

ACTIVE = ("running", "halted")
"""States of a rollout that no other of its app may run beside."""
FINAL_STEPS = ("confirmed", "reverted", "refused")
"""Steps of an adoption that decide its outcome."""


def rollout_row(session: Session, rollout: str) -> RolloutRow:
    """The row of a rollout. Raises `RolloutError`."""
    row = session.get(RolloutRow, rollout)
    if row is None:
        raise RolloutError(f"there is no rollout {rollout!r}: `edgeloop rollout status` lists them")
    return row


def newest_rollout(session: Session, app: str) -> RolloutRow:
    """The newest rollout of an app; an empty row, which is not stored, before the first."""
    query = select(RolloutRow).where(col(RolloutRow.app) == app).order_by(col(RolloutRow.created_ns).desc())
    known = session.exec(query).first()
    return known or RolloutRow(app=app, created_ns=0)  # pyright: ignore[reportCallIssue]: the rest is None


def app_state(session: Session, app: str) -> AppState:
    """The state of an app; an empty one, which is not stored, for a new app."""
    return session.get(AppState, app) or AppState(app=app)


def wave_of(row: RolloutRow) -> Wave:
    """The present wave of a rollout as the document has it; of a finished one, all nodes that it means."""
    share = 1.0 if row.state == "done" else row.waves[min(row.wave, len(row.waves) - 1)]
    return Wave(row.version, share, msgspec.convert(row.constraint, Constraint))


def has_constraint(row: RolloutRow) -> bool:
    """Whether a rollout is limited to a site, profile or tag."""
    return msgspec.convert(row.constraint, Constraint) != Constraint()


def traits_of(node: Node) -> NodeTraits:
    """Traits of a node that constraints and waves match."""
    return NodeTraits(node.name, node.site, node.profile, tuple(node.tags))


def wave_member(node: Node, begun_ns: int) -> Member:
    """A node of a wave that began at ``begun_ns``."""
    since_ns = max(begun_ns, node.enrolled_ns)
    return member_of(node.name, since_ns, node.last_seen_ns, node.update_problem)


def known_nodes(session: Session, app: str, since_ns: int, max_absence_s: float) -> list[Node]:
    """Nodes of an app in service that were seen within ``max_absence_s`` before ``since_ns``, or later."""
    oldest_ns = since_ns - int(max_absence_s * 1e9)
    known = (Node.app == app, Node.retired_ns == 0, col(Node.last_seen_ns) >= oldest_ns)
    return list(session.exec(select(Node).where(*known)))


def reports_of(session: Session, row: RolloutRow) -> list[NodeReport]:
    """Reports of nodes about a rollout's version, in order.

    A node whose newest health names the version, confirmed, as the result of this rollout counts as adopted
    even without a report (a store that was restored from a backup).
    """
    query = (
        select(Adoption)
        .where(
            Adoption.rollout == row.id,
            Adoption.version == row.version,
            col(Adoption.step).in_(FINAL_STEPS),
        )
        .order_by(col(Adoption.received_ns), col(Adoption.stream_id), col(Adoption.seq))
    )
    reports = [NodeReport(found.node, found.step, found.reason) for found in session.exec(query)]
    running = select(Node.name).where(
        Node.app == row.app, Node.rollout == row.id, Node.version == row.version, col(Node.confirmed)
    )
    reported = {report.node for report in reports}
    return reports + [NodeReport(node, "confirmed") for node in session.exec(running) if node not in reported]
