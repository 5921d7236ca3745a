"""Events of nodes about themselves, projected into the node table and the log of adoptions.

`project` is a projection like an app's, for the events under ``edgeloop.``; its tables belong to the
cloud and are never rebuilt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, select, update
from sqlmodel import col

from cloud_backend.ingest.received import ReceivedStatus
from cloud_backend.store.tables import Adoption, Node, NodeSettings
from common.app.cloud import ReceivedEvent
from common.app.projection import insert_into

PREFIX = "edgeloop"
VERSION_LIMIT = 2**53
PROJECTED = frozenset(
    {"edgeloop.node.started", "edgeloop.node.health", "edgeloop.adoption", "edgeloop.settings"}
)
AdoptionStep = Literal[
    "offered", "downloaded", "verified", "golden", "shadow", "switched", "confirmed", "reverted", "refused"
]


class Started(msgspec.Struct, frozen=True):
    """Data of ``edgeloop.node.started``, as far as the fleet shows it."""

    app: str
    version: str = ""
    slot: str = ""
    profile: str = ""
    virtual: bool = False
    tags: list[str] = []


class Updates(msgspec.Struct, frozen=True):
    """Versions of the update repository that a node trusts, and the reason why it cannot check for any."""

    problem: str = ""
    root: int = 0
    metadata: int = 0
    serial: int = 0


class Health(msgspec.Struct, frozen=True):
    """Data of ``edgeloop.node.health`` that has a column of its own; all of it is kept as JSON."""

    version: str = ""
    slot: str = ""
    step: str = ""
    confirmed: bool = False
    rollout: str = ""
    settings_version: int = 0
    updates: Updates = Updates()

    def columns(self) -> dict[str, Any]:
        """The columns of the node's row."""
        updates = self.updates
        return {
            "version": self.version,
            "slot": self.slot,
            "step": self.step,
            "confirmed": self.confirmed,
            "rollout": self.rollout,
            "update_problem": updates.problem[:100],
            "root_version": _bounded(updates.root),
            "metadata_version": _bounded(updates.metadata),
            "deployment_serial": _bounded(updates.serial),
        }


class AdoptionReport(msgspec.Struct, frozen=True):
    """Data of ``edgeloop.adoption``."""

    version: str
    step: AdoptionStep
    ok: bool
    from_version: str = ""
    reason: str = ""
    serial: int = 0
    rollout: str = ""
    app: str = ""


class SettingsAnswer(msgspec.Struct, frozen=True):
    """Data of ``edgeloop.settings``; ``holds`` is the version that holds after it."""

    version: int
    outcome: Literal["applied", "refused", "waiting"]
    reason: str = ""
    detail: str = ""
    holds: int = 0


def project(
    connection: Connection, events: Sequence[ReceivedEvent], places: Sequence[tuple[int, int]]
) -> None:
    """Bring the node table and the log of adoptions up to date; idempotent.

    ``places`` are ``(stream_id, received_ns)`` of each event. Raises ``msgspec.MsgspecError`` for data that
    is not what the platform's events promise.
    """
    changes: dict[str, dict[str, Any]] = {}
    adoptions: list[dict[str, Any]] = []
    held: dict[str, int] = {}
    answers: list[tuple[str, SettingsAnswer, int]] = []
    for event, (stream_id, received_ns) in zip(events, places, strict=True):
        change = changes.setdefault(event.node, {})
        if event.type == "edgeloop.node.started":
            change |= msgspec.structs.asdict(msgspec.json.decode(event.body, type=Started))
        elif event.type == "edgeloop.node.health":
            health = msgspec.json.decode(event.body, type=Health)
            change |= health.columns() | {"health": event.data}
            held[event.node] = _bounded(health.settings_version)
        elif event.type == "edgeloop.settings":
            answer = msgspec.json.decode(event.body, type=SettingsAnswer)
            held[event.node] = _bounded(answer.holds)
            answers.append((event.node, answer, received_ns))
        elif event.type == "edgeloop.adoption":
            report = msgspec.json.decode(event.body, type=AdoptionReport)
            change["step"] = report.step
            if report.step in ("switched", "confirmed"):
                change["confirmed"] = report.step == "confirmed"
            place = {"stream_id": stream_id, "seq": event.seq, "received_ns": received_ns}
            row = msgspec.structs.asdict(report) | place | {"node": event.node, "time_ns": event.time_ns}
            row["app"] = row["app"] or change.get("app", "")
            adoptions.append(row)
    for node, change in sorted(changes.items()):
        if change:
            connection.execute(update(Node).where(col(Node.name) == node).values(**change))
    for node, version in sorted(held.items()):
        row = update(NodeSettings).where(
            col(NodeSettings.node) == node, col(NodeSettings.held_version) != version
        )
        connection.execute(row.values(held_version=version))
    for node, answer, received_ns in answers:
        _note_answer(connection, node, answer, received_ns)
    if adoptions:
        _log(connection, adoptions)


def _note_answer(connection: Connection, node: str, answer: SettingsAnswer, received_ns: int) -> None:
    """The answer to the newest change; one to an earlier change is out of date."""
    values = {"outcome": answer.outcome, "reason": answer.reason[:100], "detail": answer.detail[:500]}
    row = update(NodeSettings).where(
        col(NodeSettings.node) == node, col(NodeSettings.version) == _bounded(answer.version)
    )
    connection.execute(row.values(**values, answered_ns=received_ns))


def _bounded(version: int) -> int:
    """A version that a node reports; 0 for one that no repository can have reached."""
    return version if 0 <= version <= VERSION_LIMIT else 0


def _log(connection: Connection, adoptions: list[dict[str, Any]]) -> None:
    nameless = {row["node"] for row in adoptions if not row["app"]}
    query = select(col(Node.name), col(Node.app)).where(col(Node.name).in_(nameless))
    apps = {row.name: row.app for row in connection.execute(query)}
    for row in adoptions:
        row["app"] = row["app"] or apps.get(row["node"], "")
    insert = insert_into(connection, Adoption)
    connection.execute(insert.on_conflict_do_nothing(), adoptions)


def note_status(connection: Connection, statuses: Sequence[ReceivedStatus]) -> None:
    """Write the reported states, online or offline."""
    newest = {arrival.node: arrival for arrival in statuses}
    for node, arrival in sorted(newest.items()):
        change: dict[str, Any] = {"state": arrival.status.state}
        if arrival.status.app:
            change["app"] = arrival.status.app
        if not arrival.retained and arrival.status.state == "online":
            change["last_seen_ns"] = arrival.arrived_ns
        connection.execute(
            update(Node).where(col(Node.name) == node, col(Node.site) == arrival.site).values(**change)
        )


def forget_states(connection: Connection) -> None:
    """Set every state to unknown, until the retained status messages arrive again."""
    connection.execute(update(Node).values(state="unknown"))
