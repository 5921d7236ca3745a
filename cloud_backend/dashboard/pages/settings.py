"""The page *Settings*: session, cloud, enrolment of nodes, API, sign-in, audit trail, ingest."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from nicegui import ui

from cloud_backend.dashboard.layout.navigation import MOUNT, THEME_COOKIE
from cloud_backend.dashboard.parts import formatting
from cloud_backend.dashboard.parts.enrolment_form import EnrolmentForm
from common.pages import Badge, Details, Site, Text, View, card

EVERY_S = 2.0
COUNTS = {
    "nodes": "Nodes enrolled",
    "nodes_online": "Nodes online",
    "committed": "Events committed",
    "streams": "Streams of events",
    "samples": "Samples received",
    "sample_bytes_received": "Size of samples",
}
_SET_THEME = """() => {{
  document.cookie = "{cookie}={kept};path={path};max-age={age};samesite=strict";
  Quasar.Dark.set({dark});
}}"""


def add_pages(site: Site) -> None:
    """Add the page."""

    @site.page("settings", "Settings")
    async def show(view: View) -> None:
        origin = _origin()
        with ui.element("div").classes("grid"):
            with card("You"):
                you = Details({})
                _draw_theme()
            with card("The cloud"):
                with ui.element("div").classes("row-of"):
                    broker, database, ingest = Badge(), Badge(), Badge()
                cloud = Details({})
            with card("Enrol a node", "The file by which a node reaches and trusts the cloud.", wide=True):
                EnrolmentForm(view)
            with card("The API", "These pages use nothing else."):
                _draw_api(origin)
            with card("Sign-in", "Commands for the machine of the cloud; DIR is the cloud's data folder."):
                _command("One-time link to the dashboard", "edgeloop cloud link --data DIR")
                _command("New password; ends all sessions", "edgeloop cloud password --data DIR")
            with card("Audit trail", "Changes with person, time and address."):
                ui.link("Open the audit trail", f"{MOUNT}/settings/audit")
            with card("Ingest counters", "Since the cloud's last start.", wide=True):
                counted = Details({})

        async def refresh() -> None:
            status, session = await asyncio.gather(view.api.get("/v1/status"), view.api.get("/v1/session"))
            you.show(session_details(session))
            cloud.show(cloud_details(status))
            counted.show(ingest_details(status["ingest"]))
            works = status["broker"]["alive"] and status["broker"]["connected"]
            broker.show("broker works" if works else "broker does not answer", "good" if works else "bad")
            writable = status["ingest"].get("database") != "unwell"
            database.show(
                "database works" if writable else "database accepts no writes", "good" if writable else "bad"
            )
            waiting = formatting.number(status["ingest"], "waiting_events") or 0
            ingest.show(
                f"{formatting.plural(waiting, 'event')} to commit", "warn" if waiting > 10_000 else ""
            )

        await view.live(refresh, EVERY_S)


def session_details(session: Mapping[str, Any]) -> dict[str, str]:
    """The session, from ``GET /v1/session``."""
    expires_ns = session["expires_ns"]
    return {
        "Signed in as": session["name"],
        "With": "a session" if session["kind"] == "session" else "the API token of the admin",
        "Until": formatting.date_and_time(expires_ns) if expires_ns else "the token is replaced",
    }


def cloud_details(status: Mapping[str, Any]) -> dict[str, str]:
    """Details of the cloud, from ``GET /v1/status``."""
    broker, database = status["broker"], status["database"]
    return {
        "Version": status["edgeloop"],
        "Broker": f"{broker['kind']} at {broker['host']}:{broker['port']}",
        "Database": f"{database['kind']}, answers in {formatting.milliseconds(database['latency_ms'])}",
        **{
            label: (formatting.size if "bytes" in name else formatting.count)(
                formatting.number(status["counts"], name)
            )
            for name, label in COUNTS.items()
        },
    }


def ingest_details(ingest: Mapping[str, Any]) -> dict[str, str]:
    """Counters of ingest by name."""
    return {
        as_label(name): (formatting.size if "bytes" in name else formatting.count)(
            formatting.number(ingest, name)
        )
        for name in ingest
        if formatting.number(ingest, name) is not None
    }


def as_label(name: str) -> str:
    """``sample_bytes_received`` as ``Sample bytes received``."""
    return re.sub("_", " ", name).capitalize()


def _origin() -> str:
    """The cloud's address in this browser."""
    url = ui.context.client.request.url
    return f"{url.scheme}://{url.netloc}"


def _draw_api(origin: str) -> None:
    with ui.element("p"):
        Text("span", "Interactive documentation of every route: ")
        Text("a", "/docs").props("href=/docs")
        Text("span", "; machine-readable description: ")
        Text("a", "/openapi.json").props("href=/openapi.json")
        Text("span", ".")
    _command(
        "Request with the admin's token, a file in the cloud's data folder",
        f'curl -H "Authorization: Bearer $(cat DIR/secrets/admin-token)" {origin}/v1/status',
    )
    _command("The same from the command line", f"edgeloop cloud status --cloud {origin} --data DIR")


def _command(what: str, command: str) -> None:
    with ui.element("div").classes("stack"):
        Text("h3", what)
        Text("pre", command).classes("log").props("tabindex=0")


def _draw_theme() -> None:
    year_s = 365 * 86400
    with ui.element("div").classes("stack"):
        Text("h3", "Theme")
        with ui.element("div").classes("row-of"):
            for label, kept, dark, age in (
                ("As the system", "", '"auto"', 0),
                ("Light", "light", "false", year_s),
                ("Dark", "dark", "true", year_s),
            ):
                button = Text("button", label).classes("action").props("type=button")
                script = _SET_THEME.format(cookie=THEME_COOKIE, kept=kept, path=MOUNT, age=age, dark=dark)
                button.on("click", js_handler=script)
