"""`Site` adds pages; `View` is one visit of a page and keeps it up to date.

A page is sent with headings and empty blocks, and its content follows over the websocket: the first paint
waits for no answer of the API. A refresh that is passed to `View.live` runs shortly after the page was sent
and then every second, never concurrently with itself. If it fails, the page keeps its content and a banner
shows the error until the refresh works again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from nicegui import background_tasks, context, ui

from common.pages.api_client import ApiClient, ApiError
from common.pages.blocks import Text

REFRESH_S = 1.0
FIRST_REFRESH_DELAY_S = 0.05
"""Delay of the first requests to the API, so that they do not delay the page itself."""
_SIGN_IN = "location.assign('/sign-in?next=' + encodeURIComponent(location.pathname))"
"""A script, because `ui.navigate` stays below the dashboard's mount."""
SLOW_AFTER_S = 4.0
SLOW = f"No answer of the cloud for {SLOW_AFTER_S:g} s: its database is slow. This page may be out of date."
Build = Callable[..., Awaitable[None]]
Refresh = Callable[[], Awaitable[None]]
LabelForm = Callable[["View", dict[str, Any], Refresh], Awaitable[None]]
"""Builds an app's form for one sample (an item of ``GET /v1/samples``) in the current element, and calls the
last argument once a label is stored."""
SubjectPath = Callable[[str], str]
"""Absolute path of the page of a subject of the app's events."""


@dataclass(slots=True)
class Banner:
    """The line above a page that shows current problems."""

    element: ui.element
    text: ui.label
    problems: dict[str, str]
    """Problems by the name of their check."""

    def report(self, check: str, problem: str) -> None:
        """Show the problem that ``check`` found; an empty one clears it."""
        if self.problems.get(check, "") == problem:
            return
        self.problems[check] = problem
        self.text.text = " ".join(dict.fromkeys(filter(None, self.problems.values())))
        self.element.set_visibility(bool(self.text.text))


class View:
    """One visit of one page.

    ``person`` is the name of the signed-in person; ``head`` holds the heading and the buttons beside it.
    """

    def __init__(self, api: ApiClient, banner: Banner, person: str, head: ui.element, heading: Text) -> None:
        self.api = api
        self.person = person
        self.head = head
        self._heading = heading
        self._banner = banner
        self._client = context.client
        self._running: set[str] = set()
        self._first_refreshes: list[Refresh] = []

    def name(self, heading: str) -> None:
        """Set the page's heading and title, such as to the name of a node."""
        self._heading.text = heading
        ui.page_title(f"{heading} · edgeloop")

    async def live(self, refresh: Refresh, every_s: float = REFRESH_S) -> None:
        """Run ``refresh`` shortly and then every ``every_s`` seconds while the page is open."""
        name = refresh.__qualname__
        place = context.slot

        async def guarded() -> None:
            problem = ""
            try:
                await refresh()
            except ApiError as error:
                if error.status == 401:
                    ui.run_javascript(_SIGN_IN)
                problem = f"This page cannot be updated: {error}"
            self._banner.report(name, problem)

        async def first() -> None:
            with place:
                await self._run_once(guarded, name)

        self._first_refreshes.append(first)
        if len(self._first_refreshes) == 1:
            background_tasks.create(  # pyright: ignore[reportUnknownMemberType]: partly typed library
                self._run_first_refreshes(), name=f"first refresh of {name}"
            )
        ui.timer(every_s, lambda: self._while_open(guarded, name), immediate=False)

    async def _run_first_refreshes(self) -> None:
        """The first run of each refresh, in order of registration."""
        await asyncio.sleep(FIRST_REFRESH_DELAY_S)
        for first in self._first_refreshes:  # may grow during the loop
            if not self._client.is_deleted:
                await first()

    def watch(self, check: Callable[[ApiClient], Awaitable[str]]) -> Refresh:
        """A refresh that shows the problem returned by ``check`` on the banner."""

        async def run() -> None:
            self._banner.report("cloud", await check(self.api))

        return lambda: self._while_open(run, "cloud")

    async def _while_open(self, work: Refresh, name: str) -> None:
        """Run ``work`` if the browser is connected; a page outlives a lost connection for a while."""
        if self._client.has_socket_connection:
            await self._run_once(work, name)

    async def _run_once(self, work: Refresh, name: str) -> None:
        """Run ``work`` unless it still runs; after `SLOW_AFTER_S` report it as slow and let it go on."""
        if name in self._running:
            return
        self._running.add(name)
        place = context.slot

        async def in_place() -> None:
            with place:
                await work()

        task = asyncio.ensure_future(in_place())
        task.add_done_callback(lambda _: self._running.discard(name))
        await asyncio.wait([task], timeout=SLOW_AFTER_S)
        if task.done():
            task.result()
            return
        self._banner.report(name, SLOW)

    async def act(self, request: Awaitable[Any], done: str) -> bool:
        """Await ``request`` and notify of ``done`` or of the error. Returns whether it succeeded."""
        try:
            await request
        except ApiError as error:
            ui.notify(str(error), type="negative", timeout=8000, close_button="Close")
            return False
        ui.notify(done, type="positive")
        return True


class Site(Protocol):
    """The dashboard as an app's ``pages`` callable sees it; paths are relative to ``/ui/apps/<app>``."""

    def page(self, path: str, title: str, *, icon: str = "") -> Callable[[Build], Build]:
        """Add a page, built by ``async def build(view, **parameters of the path)``.

        The one with an empty path is the app's front page.
        """
        ...

    def label_form(self, form: LabelForm) -> None:
        """Set the form that labels a sample of this app on the page *Learning*."""
        ...

    def subject_page(self, path: SubjectPath) -> None:
        """Set the path of the pages of this app's subjects; alerts link to them. Optional."""
        ...
