"""The page *Audit trail*: actions of operators, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from cloud_backend.dashboard.parts import formatting
from cloud_backend.dashboard.parts.paged_table import PagedTable
from common.pages import Column, Site, Table, View, card

COLUMNS = (
    Column("at", "When (UTC)"),
    Column("actor", "Who"),
    Column("action", "Action"),
    Column("subject", "Subject"),
    Column("outcome", "Outcome", kind="badge"),
    Column("address", "From"),
    Column("details", "Details", kind="code"),
)
EVERY_S = 3.0


def add_pages(site: Site) -> None:
    """Add the page."""

    @site.page("settings/audit", "Audit trail")
    async def show(view: View) -> None:
        hint = "Changes by people or with the admin's token, and sign-ins. Entries are never deleted."
        with ui.element("div").classes("grid"), card("Actions of operators", hint, wide=True):
            lines = PagedTable(
                view.api,
                "/v1/audit-trail",
                Table("Actions of operators", COLUMNS, empty_text="No actions yet."),
                audit_row,
            )
        await view.live(lines.refresh, EVERY_S)


def audit_row(line: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table, from ``GET /v1/audit-trail``."""
    details = ", ".join(f"{name}: {value}" for name, value in line["details"].items())
    return {
        "id": line["id"],
        "at": formatting.date_and_time(line["time_ns"]).removesuffix(" UTC"),
        "actor": line["actor"],
        "action": line["action"],
        "subject": line["subject"],
        "outcome": line["outcome"],
        "outcome_tone": "" if line["outcome"] == "done" else "warn",
        "address": line["address"],
        "details": details,
    }
