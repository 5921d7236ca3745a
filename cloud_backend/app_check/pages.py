"""Pages: each is built and refreshed once on a real cloud's API, and the label form on a stored sample."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any
from urllib.parse import unquote

from nicegui import Client, core, ui

from cloud_backend.app_check.serving import ServedApp, served
from common.authoring.check import AppUnderCheck, Check, CheckSkipped, require
from common.pages import ApiClient, LabelForm, Text, View
from common.pages.site import REFRESH_S, Banner, Build, Refresh, SubjectPath


class PageList:
    """A `common.pages.Site` that only lists what an app adds."""

    def __init__(self) -> None:
        self.pages: dict[str, Build] = {}
        self.form: LabelForm | None = None
        self.subject: SubjectPath | None = None

    def page(self, path: str, title: str, *, icon: str = "") -> Callable[[Build], Build]:  # noqa: ARG002
        def add(build: Build) -> Build:
            self.pages[path] = build
            return build

        return add

    def label_form(self, form: LabelForm) -> None:
        self.form = form

    def subject_page(self, path: SubjectPath) -> None:
        self.subject = path


class OneVisit(View):
    """A visit whose refreshes run once, at once, and whose errors are raised."""

    async def live(self, refresh: Refresh, every_s: float = REFRESH_S) -> None:  # noqa: ARG002
        await refresh()


def _pages(app: AppUnderCheck) -> None:
    if app.spec.pages is None:
        raise CheckSkipped("the app has no pages")
    site = PageList()
    resolve_name(app.spec.pages)(site)
    require("" in site.pages, "the app adds no front page: site.page('', ...)")
    with served(app, app.folder / "pages") as cloud:
        asyncio.run(_visit(app, site, cloud))


async def _visit(app: AppUnderCheck, site: PageList, cloud: ServedApp) -> None:
    core.loop = asyncio.get_running_loop()
    async with cloud.client() as client:
        api = ApiClient(client, cloud.token)
        subject = app.events[0].subject
        for path, build in site.pages.items():
            parameters = {} if "{" not in path else _parameters(app, site, path, subject)
            if parameters is not None:
                with Client(ui.page(f"/check/{path}")):
                    await build(_new_visit(api), **parameters)
        samples = (await api.get("/v1/samples", app=app.spec.name))["items"]
        if site.form is not None and samples:
            with Client(ui.page("/check-form")):
                await site.form(_new_visit(api), samples[0], _nothing)


def _new_visit(api: ApiClient) -> View:
    box = ui.element("div")
    return OneVisit(api, Banner(box, ui.label(), {}), "check", box, Text("h1", ""))


async def _nothing() -> None:
    pass


def _parameters(app: AppUnderCheck, site: PageList, path: str, subject: str) -> dict[str, Any] | None:
    """Parameters of a subject's page for ``subject``; None for a page of anything else."""
    if site.subject is None:
        return None
    pattern = re.sub(r"\\\{(\w+)(?::path)?\\\}", r"(?P<\1>.+)", re.escape(path).replace(r"\:", ":"))
    below = site.subject(subject).partition(f"/ui/apps/{app.spec.name}/")[2].partition("?")[0]
    found = re.fullmatch(pattern, below)
    return {name: unquote(value) for name, value in found.groupdict().items()} if found else None


CHECKS = [Check("pages", "its pages and its label form are built on the cloud's API", _pages)]
