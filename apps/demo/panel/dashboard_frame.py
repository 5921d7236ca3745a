"""Dashboard beside the narrator: the cloud's own pages in a frame, signed in by a one-time link.

After a reset of the stage the frame waits for the new cloud and signs in there.
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


class DashboardFrame:
    """The frame, with a placeholder while no cloud answers."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._signed_in: int | None = None
        """Number of the stage on whose cloud this frame is signed in."""
        self._signing_in: int | None = None
        self._url = ""
        self._page = ""
        self._attempt_s = 0.0
        self._frame = ui.element("iframe").props('title="The dashboard of the cloud"')
        self._frame.on("load", self._loaded, args=[])
        with ui.element("div").classes("placeholder") as self._placeholder:
            Text("p", "Waiting for the cloud.")
            self._problem = Text("p", "").classes("hint")

    def close(self) -> None:
        """Show the placeholder: this cloud is about to end."""
        if self._signed_in is not None:
            self._signed_in = None
            self._placeholder.set_visibility(True)
            self._navigate("about:blank")

    async def refresh(self, number: int, page: str) -> None:
        """Sign in at the cloud of stage ``number``, and follow to ``page`` if it has changed."""
        if number != self._signed_in:
            self._placeholder.set_visibility(True)
            if number != self._signing_in and time.monotonic() - self._attempt_s > RETRY_S:
                self._attempt_s = time.monotonic()
                await self._sign_in(number)
        elif page and page != self._page:
            self._page = page
            self._navigate(self._url + page)

    async def _sign_in(self, number: int) -> None:
        try:
            link = await run.io_bound(_sign_in_link, self._stage)
        except EdgeloopError as error:
            running = self._stage.cloud.alive
            self._problem.text = str(error) if running and "not ready" not in str(error) else ""
            return
        if link is not None and number == self._stage.number:
            self._url, self._signing_in, self._page = link[0], number, ""
            self._navigate(link[1])

    def _loaded(self) -> None:
        if self._signing_in is not None:
            self._signed_in, self._signing_in = self._signing_in, None
            self._problem.text = ""
            self._placeholder.set_visibility(False)

    def _navigate(self, url: str) -> None:
        # Set in the browser: the viewer may have navigated within the frame, which is not visible here.
        target = msgspec.json.encode(url).decode()
        ui.run_javascript(f"getHtmlElement({self._frame.id}).src = {target}")


def _sign_in_link(stage: Stage) -> tuple[str, str]:
    """``(address of the cloud, link)``. Raises `EdgeloopError` without a running cloud."""
    if not stage.cloud.alive:
        raise ShowError("the cloud does not run")
    url = stage.cloud.file.http_url
    return url, stage.client.post("/v1/sign-in-links", {"name": PRESENTER})["url"]
