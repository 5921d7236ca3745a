"""The page *Apps*: each app of this cloud, what it runs where, and its own pages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard import words
from common.pages import Column, Facts, Table, Text, View, card, empty

if TYPE_CHECKING:
    from cloud_backend.dashboard.frame import Frame

VERSION_COLUMNS = (
    Column("version", "Version on nodes", kind="link"),
    Column("share", "Nodes", kind="bar"),
    Column("state", "State", kind="badge"),
)


def add_pages(site: Frame) -> None:
    """Add the page."""

    @site.page("apps", "Apps")
    async def show(view: View) -> None:
        status = await view.ask.get("/v1/status")
        if not status["apps"]:
            empty("No app is installed.", "Make one by: edgeloop new-app NAME --like APP", "extension_off")
            return
        cards: dict[str, AppCard] = {}
        with ui.element("div").classes("grid"):
            for name, app in status["apps"].items():
                with card(app["title"], name):
                    cards[name] = AppCard(name, site.front_pages(name))

        async def refresh() -> None:
            status, fleet = await asyncio.gather(view.ask.get("/v1/status"), view.ask.get("/v1/fleet"))
            for name, app in status["apps"].items():
                if name in cards:
                    cards[name].show(app, fleet["versions"].get(name, {}))

        await view.live(refresh)


class AppCard:
    """What is known of one app."""

    def __init__(self, name: str, pages: Sequence[tuple[str, str]]) -> None:
        self._name = name
        self._facts = Facts({})
        self._versions = Table(
            f"Versions of {name} on nodes",
            VERSION_COLUMNS,
            nothing="No node runs this app.",
            what_to_do=f"Start one: edgeloop node run --app {name} --source URI --data DIR --enrolment FILE",
        )
        links = [(f"/ui/{place}", title) for place, title in pages]
        links += [
            (f"/ui/fleet?app={quote(name, safe='')}", "Its nodes"),
            ("/ui/models", "Its models"),
            ("/ui/rollouts", "Its rollouts"),
        ]
        with ui.element("div").classes("row-of"):
            for href, title in links:
                Text("a", title).props["href"] = href

    def show(self, app: Mapping[str, Any], versions: Mapping[str, int]) -> None:
        """Show what ``GET /v1/status`` says of the app, and which version its nodes run."""
        self._facts.show(
            {
                "In production": app["production"] or "nothing yet",
                "Nodes": words.count(app["nodes"]),
                "Deployment": f"number {app['serial']}" if app["serial"] else "none so far",
                "Rollout": app["rollout"] or "none is running",
            }
        )
        self._versions.show(version_rows(self._name, app["production"], versions))


def version_rows(name: str, production: str, versions: Mapping[str, int]) -> list[dict[str, Any]]:
    """Which share of an app's nodes runs which version, the most frequent first."""
    nodes = sum(versions.values())
    return [
        {
            "id": version,
            "version": version or "not reported yet",
            "version_href": f"/ui/models/{quote(name, safe='')}/{quote(version, safe='')}" if version else "",
            "share": number / nodes,
            "share_text": f"{words.count(number)} of {words.count(nodes)}",
            "state": "in production" if version == production else "",
            "state_tone": "good",
        }
        for version, number in sorted(versions.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
