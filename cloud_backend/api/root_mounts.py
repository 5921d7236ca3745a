"""Routes of apps at the cloud's root (`common.app.cloud.RootMounts`), with their error formats.

A mount has the same authentication as all routes. Below its path every problem document is converted to the
mount's error format, which clients of its standard understand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_backend.api.problem import MEDIA_TYPE
from common.app.cloud import CloudApp, Mount, RootMounts, RouteDeps
from common.errors import AppError

_PATH = re.compile(r"/[a-z][a-z0-9-]*")
_RESERVED = frozenset({"/v1", "/ui", "/tuf", "/sign-in", "/sign-out", "/healthz", "/metrics", "/docs"})


def root_mounts(apps: Mapping[str, CloudApp], deps: RouteDeps) -> dict[str, Mount]:
    """The mounts of all apps by path. Raises `AppError` for a path that an app cannot have."""
    found: dict[str, Mount] = {}
    owners: dict[str, str] = {}
    for name, app in apps.items():
        mounts = app_mounts(name, app, deps, owners)
        found.update(mounts)
        owners.update(dict.fromkeys(mounts, name))
    return found


def app_mounts(name: str, app: CloudApp, deps: RouteDeps, owners: Mapping[str, str]) -> Mapping[str, Mount]:
    """The mounts of one app by path; ``owners`` names the apps of the paths in use.

    Raises `AppError` for a path that is in use, reserved or not a single lower-case word, and what the app
    raises.
    """
    mounts = app.mounts(deps) if isinstance(app, RootMounts) else {}
    for path in mounts:
        if path in owners:
            raise AppError(
                f"the app {name} cannot mount {path}: the app {owners[path]} does. Change the path in "
                f"{type(app).__name__}.mounts of one of them, or serve only one (setting only_apps)"
            )
        if path in _RESERVED or not _PATH.fullmatch(path):
            reason = "the cloud's own" if path in _RESERVED else "not / and one lower-case word"
            raise AppError(f"the app {name} cannot mount {path}: the path is {reason}")
    return mounts


def open_paths(mounts: Mapping[str, Mount]) -> frozenset[str]:
    """Paths below the mounts that need no token."""
    return frozenset(f"{path}{below}" for path, mount in mounts.items() for below in mount.open_paths)


class MountErrors:
    """Outermost middleware: converts problem documents below a mount's path to its error format."""

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

        async def convert(message: Message) -> None:
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
            status, media_type, content = mount.error(start["status"], _detail(body))
            start["status"] = status
            headers = MutableHeaders(scope=start)
            headers["content-type"], headers["content-length"] = media_type, str(len(content))
            await send(start)
            await send({"type": "http.response.body", "body": content if scope["method"] != "HEAD" else b""})

        await self._app(scope, receive, convert)


def _detail(body: bytes) -> str:
    try:
        problem = json.loads(body)
        return str(problem.get("detail") or problem.get("title") or "")
    except ValueError:
        return ""
