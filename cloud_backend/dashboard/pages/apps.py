"""The page *Apps*: every installed app with its versions on nodes and links to its pages, or its error."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.layout.frame import Frame
from cloud_backend.dashboard.pages.fleet import model_page
from cloud_backend.dashboard.parts import formatting
from common.pages import Column, Details, Table, Text, View, card, empty

VERSION_COLUMNS = (
    Column("version", "Version on nodes", kind="link"),
    Column("share", "Nodes", kind="bar"),
    Column("state", "State", kind="badge"),
)
PROBLEM_COLUMNS = (
    Column("app", "App"),
    Column("state", "State", kind="badge"),
    Column("error", "Error"),
)


def add_pages(site: Frame) -> None:
    """Add the page."""

    @site.page("apps", "Apps")
    async def show(view: View) -> None:
        cards: dict[str, AppCard] = {}
        with card(
            "Apps with an error",
            "Their routes and pages are not served. Events of their nodes are stored, and shown after a "
            "start without the error. The cloud's log has the traceback.",
            wide=True,
        ) as broken:
            problems = Table("Apps with an error", PROBLEM_COLUMNS)
        broken.set_visibility(False)
        grid = ui.element("div").classes("grid")
        with grid:
            nothing = empty(
                "No app is installed.", "Make one: edgeloop new-app NAME --like APP", "extension_off"
            )
        nothing.set_visibility(False)

        async def refresh() -> None:
            status, fleet = await asyncio.gather(view.api.get("/v1/status"), view.api.get("/v1/fleet"))
            rows = problem_rows(status["app_problems"])
            broken.set_visibility(bool(rows))
            problems.show(rows)
            nothing.set_visibility(not status["apps"] and not rows)
            for name, app in status["apps"].items():
                if name not in cards:
                    with grid, card(app["title"], name):
                        cards[name] = AppCard(name, site.front_pages(name))
                cards[name].show(app, fleet["versions"].get(name, {}))

        await view.live(refresh)


class AppCard:
    """The card of one app."""

    def __init__(self, name: str, pages: Sequence[tuple[str, str]]) -> None:
        self._name = name
        self._details = Details({})
        self._versions = Table(
            f"Versions of {name} on nodes",
            VERSION_COLUMNS,
            empty_text="No node runs this app.",
            empty_hint=f"Start one: edgeloop node run --app {name} --source URI --data DIR --enrolment FILE",
        )
        links = [(f"/ui/{place}", title) for place, title in pages]
        links += [(f"/ui/fleet?app={quote(name, safe='')}", "Its nodes"), ("/ui/models", "Its models")]
        with ui.element("div").classes("row-of"):
            for href, title in links:
                Text("a", title).props["href"] = href
            self._rollout = Text("a", "Its rollouts")
            self._rollout.props["href"] = "/ui/rollouts"

    def show(self, app: Mapping[str, Any], versions: Mapping[str, int]) -> None:
        """Show the app's part of ``GET /v1/status``, and the versions that its nodes run."""
        self._details.show(
            {
                "In production": app["production"] or "none",
                "Nodes": formatting.count(app["nodes"]),
                "Deployment": f"number {app['serial']}" if app["serial"] else "none",
                "Rollout": "running" if app["rollout"] else "none",
            }
        )
        self._show_rollout(app["rollout"])
        self._versions.show(version_rows(self._name, app["production"], versions))

    def _show_rollout(self, rollout: str | None) -> None:
        page = (
            f"/ui/rollouts/{quote(self._name, safe='')}/{quote(rollout, safe='')}"
            if rollout
            else "/ui/rollouts"
        )
        if page != self._rollout.props["href"]:
            self._rollout.props["href"] = page
            self._rollout.text = "Its running rollout" if rollout else "Its rollouts"
            self._rollout.update()


def problem_rows(problems: Mapping[str, str]) -> list[dict[str, Any]]:
    """The apps that the cloud does not serve, with their errors, by name."""
    return [
        {"id": name, "app": name, "state": "not served", "state_tone": "bad", "error": error}
        for name, error in sorted(problems.items())
    ]


def version_rows(name: str, production: str, versions: Mapping[str, int]) -> list[dict[str, Any]]:
    """Share of an app's nodes by version, the most frequent first."""
    nodes = sum(versions.values())
    return [
        {
            "id": version,
            "version": version or "not reported yet",
            "version_href": model_page(name, version),
            "share": number / nodes,
            "share_text": f"{formatting.count(number)} of {formatting.count(nodes)}",
            "state": "in production" if version == production else "",
            "state_tone": "good",
        }
        for version, number in sorted(versions.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
