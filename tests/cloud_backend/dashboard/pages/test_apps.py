"""The page Apps, and the banner, of a cloud that has left an app out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
from nicegui import Client, core, ui

from cloud_backend.app_check.pages import OneVisit
from cloud_backend.dashboard.layout.frame import Frame, cloud_problem
from cloud_backend.dashboard.pages import apps
from common.pages import ApiClient, Table, Text
from common.pages.site import Banner, Build

FLEET: dict[str, Any] = {"versions": {}}


def api_of(app_problems: dict[str, str]) -> ApiClient:
    """A client of an API that gives these problems of apps."""
    status = {
        "broker": {"alive": True, "connected": True},
        "database": {"latency_ms": 0.1},
        "ingest": {},
        "apps": {"pumps": {"title": "Pumps", "production": "", "nodes": 0, "serial": 0, "rollout": None}},
        "app_problems": app_problems,
    }
    answers = {"/v1/status": status, "/v1/fleet": FLEET}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=answers[request.url.path]))
    return ApiClient(httpx.AsyncClient(transport=transport, base_url="http://edgeloop"), "token")


class Pages(Frame):
    """A dashboard that lists its pages instead of serving them."""

    def __init__(self) -> None:
        super().__init__(httpx.AsyncClient(transport=httpx.AsyncBaseTransport()), [])
        self.pages: dict[str, Build] = {}

    def page(self, path: str, title: str, *, icon: str = "") -> Callable[[Build], Build]:
        return lambda build: self.pages.setdefault(path, build)


def tables_of_page(app_problems: dict[str, str]) -> dict[str, Any]:
    """Rows of the page's visible tables by caption."""

    async def visit() -> dict[str, Any]:
        core.loop = asyncio.get_running_loop()
        site = Pages()
        apps.add_pages(site)
        with Client(ui.page("/test-apps")) as client:
            box = ui.element("div")
            view = OneVisit(api_of(app_problems), Banner(box, ui.label(), {}), "Ada", box, Text("h1", ""))
            await site.pages["apps"](view)
            tables = [each for each in client.elements.values() if isinstance(each, Table)]
        shown = [each for each in tables if all(outer.visible for outer in each.ancestors(include_self=True))]
        return {each.props["caption"]: each.props["rows"] for each in shown}

    return asyncio.run(visit())


def test_an_app_that_is_left_out_is_on_the_page_with_its_error() -> None:
    reason = "ZeroDivisionError: <b>router</b>"
    row = {"id": "broken", "app": "broken", "state": "not served", "state_tone": "bad", "error": reason}
    tables = tables_of_page({"broken": reason})
    assert tables["Apps with an error"] == [row]
    assert "Versions of pumps on nodes" in tables


def test_without_broken_apps_there_is_no_table_of_errors() -> None:
    assert list(tables_of_page({})) == ["Versions of pumps on nodes"]


def test_the_banner_names_an_app_that_is_left_out() -> None:
    problems = {"broken": "no module", "absent": "no table"}
    assert asyncio.run(cloud_problem(api_of(problems))).startswith(
        "Apps not served because of an error: absent, broken."
    )
    assert asyncio.run(cloud_problem(api_of({}))) == ""
