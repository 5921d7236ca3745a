"""The frame around every page: the rail, the theme, the banner."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import httpx
from fastapi import Request
from nicegui import ui

from cloud_backend.dashboard.layout import navigation
from cloud_backend.dashboard.layout.navigation import THEME_COOKIE
from common.pages import Ask, AskError, LabelForm, Text, View
from common.pages.site import Banner, Build, SubjectPath

WATCH_S = 2.0
SLOW_MS = 1000.0
"""A database that takes longer over the simplest question is told of."""
PAGE_TIMEOUT_S = 10.0


class Frame:
    """Adds pages below ``/ui/<base>``, as a `Site`; those of a dashboard share what apps bring."""

    def __init__(self, client: httpx.AsyncClient, rail: list[tuple[str, str, str]], base: str = "") -> None:
        self._client = client
        self._rail = rail
        self._base = base
        self.forms: dict[str, LabelForm] = {}
        """The apps' label forms, by app."""
        self._subjects: dict[str, SubjectPath] = {}

    def of_app(self, app: str) -> Frame:
        """The `Site` that ``app`` is given."""
        frame = Frame(self._client, self._rail, f"apps/{app}")
        frame.forms, frame._subjects = self.forms, self._subjects
        return frame

    def page(self, path: str, title: str, *, icon: str = "") -> Callable[[Build], Build]:
        """Add a page; one with an icon also stands in the rail. See `common.pages.Site`."""
        whole = "/".join(filter(None, (self._base, path)))
        if icon:
            self._rail.append((whole, title, icon))

        def add(build: Build) -> Build:
            async def visit(request: Request, **given: Any) -> None:
                view, main = self._draw(request, title)
                with main:
                    await build(view, **given)

            kind = inspect.Parameter.KEYWORD_ONLY
            of_path = list(inspect.signature(build, eval_str=True).parameters.values())[1:]
            parameters = [inspect.Parameter("request", kind, annotation=Request)]
            parameters += [each.replace(kind=kind) for each in of_path]
            visit.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
            visit.__annotations__ = {each.name: each.annotation for each in parameters}
            ui.page(f"/{whole}", title=f"{title} · edgeloop", response_timeout=PAGE_TIMEOUT_S)(visit)
            return build

        return add

    def label_form(self, form: LabelForm) -> None:
        """Keep an app's label form."""
        self.forms[self._base.rpartition("/")[2]] = form

    def subject_page(self, path: SubjectPath) -> None:
        """Keep where an app's subjects have their pages."""
        self._subjects[self._base.rpartition("/")[2]] = path

    def subject_path(self, event_type: str, subject: str) -> str:
        """Where the subject of an event has its page; empty where its app has none for it."""
        find = self._subjects.get(event_type.partition(".")[0])
        return find(subject) if find else ""

    def front_pages(self, app: str) -> list[tuple[str, str]]:
        """Path and title of the pages of ``app`` that stand in the rail."""
        return [(place, title) for place, title, _ in self._rail if f"{place}/".startswith(f"apps/{app}/")]

    def _draw(self, request: Request, title: str) -> tuple[View, ui.element]:
        """Draw the frame of one visit; the second item is where its page belongs."""
        principal = request.state.principal
        theme = request.cookies.get(THEME_COOKIE)
        ui.dark_mode(None if theme not in ("dark", "light") else theme == "dark")
        ui.add_body_html(navigation.draw(self._rail, request.url.path, principal.name))
        main = ui.element("div").classes("page").props("id=page tabindex=-1 inert")  # NiceGUI has the <main>
        # What is typed or pressed before the connection stands may get lost, or arrive in another order.
        ui.context.client.on_connect(lambda: main.props(remove="inert"))
        with main:
            with ui.element("div").classes("banner").props("role=alert") as box:
                text = ui.label()
            box.set_visibility(False)
            with ui.element("div").classes("page-head") as head:
                heading = Text("h1", title)
            ask = Ask(self._client, request.state.token)
            view = View(ask, Banner(box, text, {}), principal.name, head, heading)
            ui.timer(WATCH_S, view.watch(_trouble))
        return view, main


async def _trouble(ask: Ask) -> str:
    """What does not work in the cloud, in words for whoever looks at a page."""
    try:
        status = await ask.get("/v1/status")
    except AskError as error:
        return f"The cloud is unwell: {error}"
    broker, database = status["broker"], status.get("database", {})
    if not broker["alive"] or not broker["connected"]:
        return "The broker does not answer: nodes keep what they have and send it later."
    if status["ingest"].get("database") == "unwell":
        return "The database takes nothing: nodes keep what they have and send it later."
    if database.get("latency_ms", 0.0) > SLOW_MS:
        return f"The database is slow: {database['latency_ms']:.0f} ms for the simplest question."
    return ""
