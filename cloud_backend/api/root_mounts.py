"""What apps serve at the cloud's root (`common.app.cloud.RootMounts`), and with what errors.

A mount's routes stand behind the same guard as all others. Everything that refuses here answers with a
problem document; below a mount's path that becomes the mount's own form, which a client of its standard can
read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_backend.api.problem import MEDIA_TYPE
from common.app.cloud import CloudApp, Mount, RootMounts, RouteDeps
from common.errors import ConfigError

_PATH = re.compile(r"/[a-z][a-z0-9-]*")
_TAKEN = frozenset({"/v1", "/ui", "/tuf", "/sign-in", "/sign-out", "/healthz", "/metrics", "/docs"})


def mounts_of(apps: Mapping[str, CloudApp], deps: RouteDeps) -> dict[str, Mount]:
    """Every app's mounts by path. Raises `ConfigError` for a path that is taken."""
    found: dict[str, Mount] = {}
    for name, app in apps.items():
        for path, mount in app.mounts(deps).items() if isinstance(app, RootMounts) else ():
            if not _PATH.fullmatch(path) or path in _TAKEN or path in found:
                raise ConfigError(f"the app {name} cannot mount {path}: it is taken, or not one plain word")
            found[path] = mount
    return found


def open_paths_of(mounts: Mapping[str, Mount]) -> frozenset[str]:
    """Paths below the mounts that everybody may read."""
    return frozenset(f"{path}{below}" for path, mount in mounts.items() for below in mount.open_paths)


class MountedErrors:
    """Gives problem documents below a mount's path the mount's form. Stands before all that may refuse."""

    def __init__(self, app: ASGIApp, mounts: Mapping[str, Mount]) -> None:
        self._app = app
        self._mounts = mounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        first = scope["path"].split("/", 2)[1:2] if scope["type"] == "http" else []
        mount = self._mounts.get(f"/{first[0]}") if first else None
        if mount is None:
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def in_its_form(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                kind = MutableHeaders(scope=message).get("content-type", "")
                if kind.partition(";")[0].strip() == MEDIA_TYPE:
                    start = message
                    return
            if start is None:
                await send(message)
                return
            body += message.get("body", b"")
            if message.get("more_body", False):
                return
            status, media_type, formed = mount.error(start["status"], _detail(body))
            start["status"] = status
            headers = MutableHeaders(scope=start)
            headers["content-type"], headers["content-length"] = media_type, str(len(formed))
            await send(start)
            await send({"type": "http.response.body", "body": formed if scope["method"] != "HEAD" else b""})

        await self._app(scope, receive, in_its_form)


def _detail(body: bytes) -> str:
    try:
        problem = json.loads(body)
        return str(problem.get("detail") or problem.get("title") or "")
    except ValueError:
        return ""
