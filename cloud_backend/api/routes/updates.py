"""The update repository as static files: ``/tuf/metadata`` and ``/tuf/targets``.

Ranges let a node resume a download, and ETags let it check cheaply for new metadata. Metadata without a
version in its name must be revalidated each time; all other files are immutable.
"""

from __future__ import annotations

import os
import re

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

SMALL_BYTES = 64 * 1024
_CHANGING = re.compile(r"(timestamp|[^0-9.][^/]*)\.json")


class UpdateFiles(StaticFiles):
    """A folder of the repository. Temporary files (dotted names) are hidden."""

    def __init__(self, folder: str | os.PathLike[str], *, immutable: bool) -> None:
        super().__init__(directory=folder, check_dir=False)
        self._immutable = immutable

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Serve small files, which every node reads at every check, without a thread."""
        if stat_result.st_size > SMALL_BYTES or "range" in Headers(scope=scope):
            return super().file_response(full_path, stat_result, scope, status_code)
        try:
            with open(full_path, "rb") as file:
                found = os.fstat(file.fileno())
                response = super().file_response(full_path, found, scope, status_code)
                content = file.read()
        except FileNotFoundError:
            raise HTTPException(404, "no such file") from None
        if response.status_code != status_code:
            return response
        wanted = ("etag", "last-modified", "accept-ranges", "content-type")
        headers = {name: response.headers[name] for name in wanted if name in response.headers}
        return Response(content, status_code, headers)

    async def get_response(self, path: str, scope: Scope) -> Response:
        if any(part.startswith(".") for part in path.split(os.sep)):
            raise HTTPException(404, "no such file")
        response = await super().get_response(path, scope)
        changing = not self._immutable and _CHANGING.fullmatch(path)
        response.headers["Cache-Control"] = "no-cache" if changing else "public, max-age=31536000, immutable"
        return response
