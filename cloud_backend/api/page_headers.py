"""Security headers of pages: content security policy, framing, referrer.

NiceGUI's pages have inline scripts and styles and compile templates in the browser, so they need
'unsafe-inline' and 'unsafe-eval'; they still load from this origin only. The sign-in page runs no script.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_backend.api.auth.origins import SIGN_IN, SIGN_OUT, is_page
from cloud_backend.api.auth.sign_in_page import STYLE_DIGEST

DASHBOARD = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)
PLAIN = f"default-src 'none'; style-src '{STYLE_DIGEST}'; img-src data:; base-uri 'none'; form-action 'self'"


class PageHeaders:
    """Adds the headers to ``/ui`` and ``/sign-in``; ``frame_ancestors`` are origins that may frame them."""

    def __init__(self, app: ASGIApp, frame_ancestors: Sequence[str] = ()) -> None:
        self._app = app
        self._frames = "; frame-ancestors " + (" ".join(frame_ancestors) or "'none'")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        policy = policy_of(scope["path"]) if scope["type"] == "http" else ""
        if not policy:
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
                headers["Content-Security-Policy"] = policy + self._frames
                if policy is PLAIN:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, receive, with_headers)


def policy_of(path: str) -> str:
    """The content security policy of a path without frame-ancestors; empty for none."""
    if path in (SIGN_IN, SIGN_OUT) or path.startswith(f"{SIGN_IN}/"):
        return PLAIN
    return DASHBOARD if is_page(path) else ""
