"""Changes of the app's settings on single nodes: stored with a version, sent sealed, until the node answers.

- A change replaces the one before as a whole, and has a version above it and above what the node reports.
- It is sent at once, and again to a node that is online until the node answers that it is applied or refused:
  a hint is lost where the node is offline, and an answer where the node crashes. The interval grows from
  `RESEND_S` to `RESEND_LIMIT_S`. It is sent again too where the node reports an earlier version later: its
  device was replaced.
- The node decides (`common.edge.update.app_settings`); its answer is an ``edgeloop.settings`` event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Engine, or_, select
from sqlmodel import Session, col

from cloud_backend.ingest.fleet import VERSION_LIMIT
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import Node, NodeSettings
from common.clock import Clock
from common.deployment import is_bounded
from common.errors import SettingsRefused
from common.json_bounds import finite_number
from common.messages import SettingsChange

RESEND_S = 20.0
RESEND_LIMIT_S = 300.0
"""Longest interval: a node may wait for days for the end of a trial, and checks for updates at each hint."""
SETTINGS_LIMIT_BYTES = 64 * 1024
"""Largest change as JSON: it travels in one message."""
SENT, APPLIED, REFUSED = "sent", "applied", "refused"
Send = Callable[[str, str, SettingsChange], None]
"""``(site, node, change)``."""


class NodeSettingsSender:
    """The changes of one cloud. Any thread may call."""

    def __init__(self, engine: Engine, send: Send, clock: Clock) -> None:
        self._engine = engine
        self._send = send
        self._clock = clock

    def change(self, node: str, settings: Mapping[str, Any], actor: str, *, base: int | None = None) -> None:
        """Store a change and send it. ``base`` is the version that it was made from.

        Raises ``LookupError`` for an unknown node, and `SettingsRefused` for a change that is too large or
        was made from another version, and for a node that is retired or whose app is not known.
        """
        size = len(msgspec.json.encode(settings))
        if size > SETTINGS_LIMIT_BYTES or not is_bounded(dict(settings)):
            raise SettingsRefused(
                f"a change has at most {SETTINGS_LIMIT_BYTES} bytes, not {size}, and no deep nesting"
            )
        now_ns = self._clock()
        with Session(self._engine) as session:
            # Locked, so that two changes at the same time have two versions.
            found = session.get(Node, node, with_for_update=True)
            if found is None:
                raise LookupError(node)
            if found.retired_ns:
                raise SettingsRefused(f"{node} is retired: it takes no settings any more")
            if not found.app:
                raise SettingsRefused(f"{node} has not reported yet which app it runs: start it first")
            row = session.get(NodeSettings, node) or NodeSettings(node=node)
            if base is not None and base != row.version:
                raise SettingsRefused(
                    f"version {row.version} of {row.actor or 'nobody'} replaced version {base} meanwhile: "
                    "load it, and change that"
                )
            row.version = max(row.version, row.held_version, _reported_version(found)) + 1
            row.app, row.settings, row.actor = found.app, dict(settings), actor
            row.created_ns = row.sent_ns = now_ns
            row.outcome, row.reason, row.detail, row.answered_ns = SENT, "", "", 0
            site, change = found.site, SettingsChange(row.version, dict(settings))
            session.add(row)
            session.commit()
        self._send(site, node, change)

    def resend(self) -> None:
        """Send what nodes that are online have not answered, or do not hold any more; a periodic task."""
        now_ns = self._clock()
        query = (
            select(NodeSettings, col(Node.site))
            .join(Node, col(Node.name) == col(NodeSettings.node))
            .where(
                col(NodeSettings.outcome) != REFUSED,
                or_(
                    col(NodeSettings.outcome) != APPLIED,
                    col(NodeSettings.held_version) < col(NodeSettings.version),
                ),
                col(NodeSettings.sent_ns) <= now_ns - round(RESEND_S * 1e9),
                col(Node.state) == "online",
                col(Node.app) == col(NodeSettings.app),
                col(Node.retired_ns) == 0,
            )
        )
        with Session(read_only(self._engine)) as session:
            due = [
                (site, row.node, SettingsChange(row.version, row.settings))
                for row, site in session.execute(query)
                if now_ns - row.sent_ns >= min(row.sent_ns - row.created_ns, round(RESEND_LIMIT_S * 1e9))
            ]
        for site, node, change in due:
            self._send(site, node, change)
            with Session(self._engine) as session:
                row = session.get(NodeSettings, node)
                if row is not None and row.version == change.version:
                    row.sent_ns = now_ns
                    session.add(row)
                    session.commit()


def _reported_version(node: Node) -> int:
    """Version in the node's last health report; 0 for none, and for one that cannot be."""
    version = finite_number(node.health.get("settings_version"))
    return version if isinstance(version, int) and 0 <= version < VERSION_LIMIT else 0
