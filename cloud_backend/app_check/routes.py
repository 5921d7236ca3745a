"""Routes: the app's router is mounted in a real API, described, and its lists are read."""

from __future__ import annotations

import asyncio

from cloud_backend.app_check.serving import ServedApp, served
from common.authoring.check import AppUnderCheck, Check, require


def _routes(app: AppUnderCheck) -> None:
    with served(app, app.folder / "routes") as cloud:
        paths = cloud.api.openapi()["paths"]
        prefix = f"/v1/apps/{app.spec.name}/"
        own = [path for path in paths if path.startswith(prefix)]
        require(own or not app.spec.load_cloud().tables(), f"the app has tables, and no route below {prefix}")
        asyncio.run(_read(cloud, [path for path in own if "get" in paths[path] and "{" not in path]))


async def _read(cloud: ServedApp, paths: list[str]) -> None:
    async with cloud.client() as client:
        for path in paths:
            answer = await client.get(path)
            require(answer.status_code < 500, f"GET {path} answers {answer.status_code}: {answer.text[:300]}")


CHECKS = [Check("routes", "its routes are mounted, described, and answer", _routes)]
