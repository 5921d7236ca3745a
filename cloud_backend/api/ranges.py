"""Range requests: a single range, as a resumed download needs. Multiple ranges are refused.

This holds for every served file (updates, scripts of the dashboard), so that no request makes the cloud read
a file many times over (RFC 9110, 14.2 allows to reject many or overlapping ranges).
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from cloud_backend.api.problem import problem_response

_ONE_RANGE = re.compile(r"bytes=([0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})")


class SingleRange:
    """Answers requests with anything but one range of bytes with 416."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ranges = Headers(scope=scope).getlist("range") if scope["type"] == "http" else []
        if len(ranges) > 1 or any(_ONE_RANGE.fullmatch(each.strip()) is None for each in ranges):
            detail = "only a single range of bytes is supported, such as `Range: bytes=1000-`"
            await problem_response(416, detail, kind="range")(scope, receive, send)
            return
        await self._app(scope, receive, send)
