"""The update repository as static files: ``/tuf/metadata`` and ``/tuf/targets``.

Ranges and ETags let a node go on with a download, and ask cheaply whether anything is new. Metadata
without a version in its name must be looked at each time; everything else never changes.
"""

from __future__ import annotations

import os
import re

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_CHANGING = re.compile(r"(timestamp|[^0-9.][^/]*)\.json")


class UpdateFiles(StaticFiles):
    """A folder of the repository. Files that are being written (dotted names) are not there yet."""

    def __init__(self, folder: str | os.PathLike[str], *, immutable: bool) -> None:
        super().__init__(directory=folder, check_dir=False)
        self._immutable = immutable

    async def get_response(self, path: str, scope: Scope) -> Response:
        if any(part.startswith(".") for part in path.split(os.sep)):
            raise HTTPException(404, "there is no such file")
        response = await super().get_response(path, scope)
        changing = not self._immutable and _CHANGING.fullmatch(path)
        response.headers["Cache-Control"] = "no-cache" if changing else "public, max-age=31536000, immutable"
        return response
