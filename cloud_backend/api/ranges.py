"""Range requests: one range of a file, as a download that goes on asks for. More are refused.

Every file that is served (updates, a dashboard's scripts) passes here, so that no request makes the cloud
read and frame a file many times over (RFC 9110, 14.2 allows to reject many or overlapping ranges).
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from cloud_backend.api.problem import problem_response

_ONE_RANGE = re.compile(r"bytes=([0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})")


class OneRange:
    """Answers requests for anything but one range of bytes with 416."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ranges = Headers(scope=scope).getlist("range") if scope["type"] == "http" else []
        if len(ranges) > 1 or any(_ONE_RANGE.fullmatch(each.strip()) is None for each in ranges):
            detail = "ask for one range of bytes at a time, such as `Range: bytes=1000-`"
            await problem_response(416, detail, kind="range")(scope, receive, send)
            return
        await self._app(scope, receive, send)
