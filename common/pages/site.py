"""The frame's side of a page: `Site` adds pages, `View` is one visit of one.

A page goes out with its headings and empty places, and what it shows follows over its live connection: so
its first paint waits for no answer of the API. `View` keeps a page live: what `View.live` is given runs once
the page is on its way and then about every second, never twice at a time. Where it fails, the page stays as
it was and a banner says what is wrong, until it works again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from nicegui import background_tasks, context, ui

from common.pages.api_client import Ask, AskError
from common.pages.blocks import Text

REFRESH_S = 1.0
HEAD_START_S = 0.05
"""From a page that is built to its first questions to the API, which would hold up its way to the browser."""
_SIGN_IN = "location.assign('/sign-in?next=' + encodeURIComponent(location.pathname))"
"""By script: `ui.navigate` stays below the dashboard's mount."""
PATIENCE_S = 4.0
SLOW = f"The cloud has not answered for {PATIENCE_S:g} s: its database is slow. What is shown may be old."
Build = Callable[..., Awaitable[None]]
Refresh = Callable[[], Awaitable[None]]
LabelForm = Callable[["View", dict[str, Any], Refresh], Awaitable[None]]
"""Builds an app's form for one sample (as ``GET /v1/samples`` gives it) in the element that is open; it calls
the last argument once a label is stored."""
SubjectPath = Callable[[str], str]
"""The whole path of the page of a subject, which is given as the app's events name it."""


@dataclass(slots=True)
class Banner:
    """The line over a page that says what does not work."""

    element: ui.element
    text: ui.label
    trouble: dict[str, str]
    """What is wrong, by who found it."""

    def tell(self, who: str, problem: str) -> None:
        """Say what is wrong, or with an empty ``problem`` that all is well again."""
        if self.trouble.get(who, "") == problem:
            return
        self.trouble[who] = problem
        self.text.text = " ".join(dict.fromkeys(filter(None, self.trouble.values())))
        self.element.set_visibility(bool(self.text.text))


class View:
    """One visit of one page.

    ``person`` is who is signed in; ``head`` holds the page's heading and has room for buttons beside it.
    """

    def __init__(self, ask: Ask, banner: Banner, person: str, head: ui.element, heading: Text) -> None:
        self.ask = ask
        self.person = person
        self.head = head
        self._heading = heading
        self._banner = banner
        self._client = context.client
        self._going_on: set[str] = set()
        self._first: list[Refresh] = []

    def name(self, heading: str) -> None:
        """Give the page another heading, such as the name of what it shows."""
        self._heading.text = heading
        ui.page_title(f"{heading} · edgeloop")

    async def live(self, refresh: Refresh, every_s: float = REFRESH_S) -> None:
        """Run ``refresh`` soon and then every ``every_s`` seconds while the page is open."""
        name = refresh.__qualname__
        place = context.slot

        async def guarded() -> None:
            problem = ""
            try:
                await refresh()
            except AskError as error:
                if error.status == 401:
                    ui.run_javascript(_SIGN_IN)
                problem = f"This page cannot be brought up to date: {error}"
            self._banner.tell(name, problem)

        async def first() -> None:
            with place:
                await self._patiently(guarded, name)

        self._first.append(first)
        if len(self._first) == 1:
            background_tasks.create(self._begin(), name=f"first refresh of {name}")
        ui.timer(every_s, lambda: self._while_open(guarded, name), immediate=False)

    async def _begin(self) -> None:
        """The first run of each refresh, in the order in which they were given."""
        await asyncio.sleep(HEAD_START_S)
        for first in self._first:  # grows meanwhile
            if not self._client.is_deleted:
                await first()

    def watch(self, trouble: Callable[[Ask], Awaitable[str]]) -> Refresh:
        """A refresh that keeps the banner at what ``trouble`` finds."""

        async def look() -> None:
            self._banner.tell("cloud", await trouble(self.ask))

        return lambda: self._while_open(look, "cloud")

    async def _while_open(self, work: Refresh, name: str) -> None:
        """Do ``work`` unless the browser is gone: a page outlives it for a while, in case it comes back."""
        if self._client.has_socket_connection:
            await self._patiently(work, name)

    async def _patiently(self, work: Refresh, name: str) -> None:
        """Wait for ``work`` only so long; one that takes longer goes on, and is not begun again meanwhile."""
        if name in self._going_on:
            return
        self._going_on.add(name)
        place = context.slot

        async def in_place() -> None:
            with place:
                await work()

        task = asyncio.ensure_future(in_place())
        task.add_done_callback(lambda _: self._going_on.discard(name))
        await asyncio.wait([task], timeout=PATIENCE_S)
        if task.done():
            task.result()
            return
        self._banner.tell(name, SLOW)

    async def act(self, doing: Awaitable[Any], done: str) -> bool:
        """Do what a person asked for, and say how it went. Returns whether it was done."""
        try:
            await doing
        except AskError as error:
            ui.notify(str(error), type="negative", timeout=8000, close_button="Close")
            return False
        ui.notify(done, type="positive")
        return True


class Site(Protocol):
    """What an app's ``pages`` callable is given; paths are relative to ``/ui/apps/<app>``."""

    def page(self, path: str, title: str, *, icon: str = "") -> Callable[[Build], Build]:
        """Add a page, built by ``async def build(view, **parameters of the path)``.

        The one with an empty path is the app's front page.
        """
        ...

    def label_form(self, form: LabelForm) -> None:
        """Say how a sample of this app is labelled on the page *Learning*."""
        ...

    def subject_page(self, path: SubjectPath) -> None:
        """Say where the subjects of this app's events have their pages: alerts lead there. Optional."""
        ...
