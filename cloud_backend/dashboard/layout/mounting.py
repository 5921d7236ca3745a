"""Mounts the dashboard in the API's process: pages, style, redirects to the first page.

NiceGUI keeps its pages in globals, so a process mounts one dashboard.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name

import httpx
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from nicegui import app as pages
from nicegui import ui

import common.pages
from cloud_backend.dashboard.layout.frame import Frame
from cloud_backend.dashboard.layout.navigation import ENTRIES, MOUNT
from cloud_backend.dashboard.pages import (
    alerts,
    apps,
    audit,
    data,
    fleet,
    learning,
    models,
    node,
    rollouts,
    settings,
)
from common.app.spec import AppSpec

STYLE = Path(common.pages.__file__).with_name("style.css")
RECONNECT_S = 10.0
"""Time a page may be disconnected before it is rebuilt."""


def mount(api: FastAPI, apps_by_name: Mapping[str, AppSpec]) -> None:
    """Mount the dashboard on ``api``, with the pages of every app."""
    transport = httpx.ASGITransport(app=api, raise_app_exceptions=False, client=("dashboard", 0))
    client = httpx.AsyncClient(transport=transport, base_url="http://edgeloop")
    frame = Frame(client, list(ENTRIES))
    for module in (fleet, node, apps, alerts, models, learning, rollouts, data, settings, audit):
        module.add_pages(frame)
    for name, spec in sorted(apps_by_name.items()):
        if spec.pages:
            resolve_name(spec.pages)(frame.of_app(name))
    ui.add_css(STYLE, shared=True)
    pages.config.quasar_config["loadingBar"]["skipHijack"] = True  # no loading bar for foreign requests
    pages.colors(primary="#0f766e", positive="#14653b", negative="#a61b33", warning="#8a4b08", info="#1d4f91")

    @api.get("/", include_in_schema=False)
    @api.get(MOUNT, include_in_schema=False)
    @api.get(f"{MOUNT}/", include_in_schema=False)
    def _front() -> RedirectResponse:
        return RedirectResponse(f"{MOUNT}/fleet", 303)

    ui.run_with(
        api,
        mount_path=MOUNT,
        title="edgeloop",
        language="en-US",
        favicon="🔁",
        dark=None,
        tailwind=False,
        reconnect_timeout=RECONNECT_S,
        show_welcome_message=False,
    )
