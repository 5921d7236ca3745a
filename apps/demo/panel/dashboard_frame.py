"""The dashboard beside the narrator: the cloud's own pages in a frame, signed in by a one-time link.

When the stage is set up again there is another cloud: the frame waits until it answers, and signs in there.
"""

from __future__ import annotations

import time

import msgspec
from nicegui import run, ui

from apps.demo.world.processes import ShowError
from apps.demo.world.stage import Stage
from common.errors import EdgeloopError
from common.pages import Text

RETRY_S = 1.0
PRESENTER = "presenter"


class Board:
    """The frame, and what stands in its place while there is no cloud."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._signed_in: int | None = None
        """The stage on whose cloud this frame is signed in."""
        self._entering: int | None = None
        self._url = ""
        self._page = ""
        self._tried_s = 0.0
        self._frame = ui.element("iframe").props('title="The dashboard of the cloud"')
        self._frame.on("load", self._loaded, args=[])
        with ui.element("div").classes("curtain") as self._curtain:
            Text("p", "The dashboard comes as soon as the cloud answers.")
            self._trouble = Text("p", "").classes("hint")

    def close(self) -> None:
        """Show nothing: this cloud is about to end."""
        if self._signed_in is not None:
            self._signed_in = None
            self._curtain.set_visibility(True)
            self._go("about:blank")

    async def refresh(self, number: int, page: str) -> None:
        """Be signed in at the cloud of stage ``number``, and go to ``page`` where it is another one."""
        if number != self._signed_in:
            self._curtain.set_visibility(True)
            if number != self._entering and time.monotonic() - self._tried_s > RETRY_S:
                self._tried_s = time.monotonic()
                await self._enter(number)
        elif page and page != self._page:
            self._page = page
            self._go(self._url + page)

    async def _enter(self, number: int) -> None:
        try:
            link = await run.io_bound(_sign_in_link, self._stage)
        except EdgeloopError as error:
            running = self._stage.cloud.alive
            self._trouble.text = str(error) if running and "not ready" not in str(error) else ""
            return
        if link is not None and number == self._stage.number:
            self._url, self._entering, self._page = link[0], number, ""
            self._go(link[1])

    def _loaded(self) -> None:
        if self._entering is not None:
            self._signed_in, self._entering = self._entering, None
            self._trouble.text = ""
            self._curtain.set_visibility(False)

    def _go(self, url: str) -> None:
        # Assigned in the browser: the viewer may have gone elsewhere in the frame, which is not known here.
        target = msgspec.json.encode(url).decode()
        ui.run_javascript(f"getHtmlElement({self._frame.id}).src = {target}")


def _sign_in_link(stage: Stage) -> tuple[str, str]:
    """``(address of the cloud, link)``. Raises `EdgeloopError` while there is none."""
    if not stage.cloud.alive:
        raise ShowError("the cloud does not run")
    url = stage.cloud.file.http_url
    return url, stage.client.post("/v1/sign-in-links", {"name": PRESENTER})["url"]
