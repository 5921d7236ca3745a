"""Entries of the audit trail."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from cloud_backend.store.tables import AuditRow
from common import json_bounds


class AuditPublic(BaseModel):
    """An entry of the audit trail."""

    id: int
    time_ns: int
    actor: str = Field(
        description="name of the person, `admin` for the admin's token, or `os:USER` for the machine's user"
    )
    action: str
    subject: str = Field(description="object of the action")
    outcome: str = Field(description="`done`, or the status of the refusal")
    address: str = Field(
        description="address of the client; `dashboard` for actions there, `offline` for a command "
        "on the data folder"
    )
    details: dict[str, Any]

    @classmethod
    def of(cls, row: AuditRow) -> AuditPublic:
        return cls(**(row.model_dump() | {"details": json_bounds.shown(row.details)}))
