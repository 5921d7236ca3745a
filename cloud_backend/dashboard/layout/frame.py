"""The frame around every page: navigation, theme, banner."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

import httpx
from fastapi import Request
from nicegui import APIRouter, ui

from cloud_backend.dashboard.layout import navigation
from cloud_backend.dashboard.layout.navigation import THEME_COOKIE
from common.pages import ApiClient, ApiError, LabelForm, Text, View
from common.pages.site import Banner, Build, SubjectPath

STATUS_POLL_S = 2.0
SLOW_MS = 1000.0
"""Latency of ``SELECT 1`` above which the banner calls the database slow."""
PAGE_TIMEOUT_S = 10.0


class Frame:
    """The dashboard's `Site`: adds pages below ``/ui/<base>``.

    The frames of one dashboard share the navigation entries, label forms and subject pages of all apps. Pages
    are served by ``router``, by default NiceGUI's own.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        entries: list[tuple[str, str, str]],
        base: str = "",
        router: APIRouter | None = None,
    ) -> None:
        self._client = client
        self._entries = entries
        self._base = base
        self._router = router
        self.forms: dict[str, LabelForm] = {}
        """Label forms by app."""
        self._subjects: dict[str, SubjectPath] = {}

    def of_app(self, app: str) -> Frame:
        """The `Site` of ``app``."""
        frame = Frame(self._client, self._entries, f"apps/{app}", self._router)
        frame.forms, frame._subjects = self.forms, self._subjects
        return frame

    def page(self, path: str, title: str, *, icon: str = "") -> Callable[[Build], Build]:
        """Add a page; one with an icon gets a navigation entry. See `common.pages.Site`."""
        whole = "/".join(filter(None, (self._base, path)))
        if icon:
            self._entries.append((whole, title, icon))

        def add(build: Build) -> Build:
            async def visit(request: Request, **parameters: Any) -> None:
                view, main = self._draw(request, title)
                with main:
                    await build(view, **parameters)

            kind = inspect.Parameter.KEYWORD_ONLY
            of_path = list(inspect.signature(build, eval_str=True).parameters.values())[1:]
            parameters = [inspect.Parameter("request", kind, annotation=Request)]
            parameters += [each.replace(kind=kind) for each in of_path]
            visit.__signature__ = inspect.Signature(parameters)
            visit.__annotations__ = {each.name: each.annotation for each in parameters}
            ui.page(
                f"/{whole}",
                title=f"{title} · edgeloop",
                response_timeout=PAGE_TIMEOUT_S,
                api_router=self._router,
            )(visit)
            return build

        return add

    def label_form(self, form: LabelForm) -> None:
        """Set the label form of the app."""
        self.forms[self._base.rpartition("/")[2]] = form

    def subject_page(self, path: SubjectPath) -> None:
        """Set the path of the pages of the app's subjects."""
        self._subjects[self._base.rpartition("/")[2]] = path

    def subject_path(self, event_type: str, subject: str) -> str:
        """Path of the page of an event's subject; empty without one."""
        find = self._subjects.get(event_type.partition(".")[0])
        return find(subject) if find else ""

    def front_pages(self, app: str) -> list[tuple[str, str]]:
        """Path and title of the navigation entries of ``app``."""
        return [(path, title) for path, title, _ in self._entries if f"{path}/".startswith(f"apps/{app}/")]

    def _draw(self, request: Request, title: str) -> tuple[View, ui.element]:
        """Draw the frame of one visit; returns the visit and the element for its page."""
        principal = request.state.principal
        theme = request.cookies.get(THEME_COOKIE)
        ui.dark_mode(None if theme not in ("dark", "light") else theme == "dark")
        ui.add_body_html(navigation.draw(self._entries, request.url.path, principal.name))
        main = ui.element("div").classes("page").props("id=page tabindex=-1 inert")  # NiceGUI has the <main>
        # Input before the websocket is connected could get lost or reordered.
        ui.context.client.on_connect(lambda: main.props(remove="inert"))
        with main:
            with ui.element("div").classes("banner").props("role=alert") as box:
                text = ui.label()
            box.set_visibility(False)
            with ui.element("div").classes("page-head") as head:
                heading = Text("h1", title)
            api = ApiClient(self._client, request.state.token)
            view = View(api, Banner(box, text, {}), principal.name, head, heading)
            ui.timer(STATUS_POLL_S, view.watch(cloud_problem))
        return view, main


def check_pages(app: str, pages: str) -> None:
    """Build the pages of an app (``AppSpec.pages``) without serving them. Raises what the app raises."""
    client = httpx.AsyncClient(transport=httpx.AsyncBaseTransport())  # no page is visited
    resolve_name(pages)(Frame(client, [], router=APIRouter(prefix="/check")).of_app(app))


async def cloud_problem(api: ApiClient) -> str:
    """The banner's text about the cloud's health; empty while it works."""
    try:
        status = await api.get("/v1/status")
    except ApiError as error:
        return f"The cloud's status is not available: {error}"
    broker, database = status["broker"], status.get("database", {})
    if not broker["alive"] or not broker["connected"]:
        return "The broker does not answer: nodes buffer their events and resend them later."
    if status["ingest"].get("database") == "unwell":
        return "The database does not accept writes: nodes buffer their events and resend them later."
    if database.get("latency_ms", 0.0) > SLOW_MS:
        return f"The database is slow: {database['latency_ms']:.0f} ms for the simplest query."
    if not_served := sorted(status["app_problems"]):
        return (
            f"Apps not served because of an error: {', '.join(not_served)}. The page Apps shows the errors."
        )
    return ""
