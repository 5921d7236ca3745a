"""Audit trail: actor, action, subject, time and address. Rows are added and never changed.

The API records every change by a person or the admin's token, and every sign-in, by itself
(`cloud_backend.api.routes.audit`): a new route needs to do nothing. What is done without a request (at the
start, by a command on the data folder) calls `Audit.record`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session

from cloud_backend.store.tables import AuditRow
from common.clock import Clock

DETAILS_LIMIT = 4000
"""Characters of details that are kept of a line."""
_TEXT_LIMIT = 200
_SECRET = ("password", "token", "secret", "key")
HIDDEN = "(hidden)"
OFFLINE = "offline"
"""Address of actions on the data folder itself, without a request."""


class Audit:
    """Adds lines to the audit trail of one cloud."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def record(
        self,
        actor: str,
        action: str,
        subject: str = "",
        details: Mapping[str, Any] | None = None,
        *,
        address: str = "",
        outcome: str = "done",
    ) -> None:
        """Add a line: ``actor`` did ``action`` to ``subject``. Details named as secrets are hidden.

        Raises what the database raises.
        """
        text = json.dumps(_open_part(details or {}), ensure_ascii=False, default=str)
        if len(text) > DETAILS_LIMIT:
            text = json.dumps({"cut": text[:DETAILS_LIMIT]}, ensure_ascii=False)
        row = AuditRow(
            time_ns=self._clock(),
            actor=_line(actor),
            action=_line(action),
            subject=_line(subject),
            outcome=_line(outcome),
            address=_line(address),
            details=text,
        )
        with Session(self._engine) as session:
            session.add(row)
            session.commit()


def _line(text: str) -> str:
    """A text that every database takes and every page shows in one line."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:_TEXT_LIMIT])


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET)


def _open_part(value: Any, depth: int = 0) -> Any:
    if isinstance(value, Mapping):
        if depth > 4:
            return "…"
        return {
            _line(str(key)): HIDDEN if _is_secret(str(key)) else _open_part(each, depth + 1)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return "…" if depth > 4 else [_open_part(each, depth + 1) for each in value[:50]]
    if isinstance(value, str):
        return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in value)
    return value
