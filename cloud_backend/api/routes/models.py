"""The model registry: versions, lineage, approval, and upload of bundles."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path as FilePath
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Request
from sqlalchemy import select
from sqlmodel import col

from cloud_backend.api.dependencies import NAME, AppName, CloudDep, PrincipalDep, SessionDep, own_name
from cloud_backend.api.paging import Page, Paging, page_of
from cloud_backend.api.problem import problem, responses
from cloud_backend.api.schemas.base import Done
from cloud_backend.api.schemas.models import (
    AddModel,
    Ancestor,
    LineagePublic,
    ModelFull,
    ModelPublic,
    Promote,
)
from cloud_backend.store.tables import ModelVersion
from common.errors import BundleIncompatible, BundleIncomplete

router = APIRouter(prefix="/v1/apps/{app}/models", tags=["models"])
Version = Annotated[str, Path(max_length=63, description="version of a model")]
FILES_LIMIT = 32
"""Maximum number of files of an uploaded bundle."""
STAGED_LIMIT = 16
"""Maximum number of uploaded bundles of an app before they are added."""
STAGED_LIFE_S = 24 * 3600
PIECE_BYTES = 1024 * 1024


@router.get("", responses=responses(404, 422))
def list_models(app: AppName, session: SessionDep, paging: Paging, cloud: CloudDep) -> Page[ModelPublic]:
    """Versions of an app, newest first; the app's starter is the last."""
    query = select(ModelVersion).where(col(ModelVersion.app) == app)
    keys = [col(ModelVersion.created_ns), col(ModelVersion.version)]
    page = page_of(session, query, keys, [int, str], paging, ModelPublic.of)
    starter = cloud.registry.starter(app) if page.next is None else None
    if starter is not None and session.get(ModelVersion, (app, starter.version)) is None:
        page.items.append(ModelPublic.of(starter))
    return page


@router.get("/{version}", responses=responses(404, 422))
def show_model(app: AppName, version: Version, cloud: CloudDep) -> ModelFull:
    """One version with its manifest."""
    return ModelFull.of(cloud.registry.row(app, version))


@router.get("/{version}/lineage", responses=responses(404, 422))
def show_lineage(app: AppName, version: Version, cloud: CloudDep) -> LineagePublic:
    """Data, code, job and approval of a version and of each ancestor."""
    chain = [Ancestor(**link) for link in cloud.registry.lineage(app, version)]
    return LineagePublic(app=app, version=version, chain=chain)


@router.post("/{version}/promote", responses=responses(404, 409, 413, 422))
def promote(
    app: AppName, version: Version, body: Promote, cloud: CloudDep, principal: PrincipalDep
) -> ModelPublic:
    """Approve a version by hand, so that it can be rolled out; name and reason are recorded."""
    by = own_name(principal, body.by)
    row = cloud.registry.row(app, version)
    if row.state in ("candidate", "refused"):
        cloud.registry.approve(app, version, by=by, reason=body.reason)
    return ModelPublic.of(cloud.registry.row(app, version))


@router.put(
    "/{version}/files/{name}",
    status_code=201,
    responses=responses(404, 409, 413, 422),
    openapi_extra={
        "requestBody": {
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            "required": True,
        }
    },
)
async def put_file(
    app: AppName,
    version: Annotated[str, Path(pattern=NAME)],
    name: Annotated[str, Path(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$")],
    request: Request,
    cloud: CloudDep,
) -> Done:
    """Upload one file of a bundle; `POST .../models` adds the bundle when all are uploaded."""
    folder = await to_thread.run_sync(_stage, cloud.folder, app, version)
    if len(os.listdir(folder)) >= FILES_LIMIT and not (folder / name).exists():
        raise problem(409, f"{app} {version} has {FILES_LIMIT} files, the maximum of a bundle")
    descriptor, partial = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            async for chunk in request.stream():
                await to_thread.run_sync(file.write, chunk)
        os.replace(partial, folder / name)
    finally:
        FilePath(partial).unlink(missing_ok=True)
    return Done(id=name)


@router.post("", status_code=201, responses=responses(404, 409, 413, 422))
def add_model(app: AppName, body: AddModel, cloud: CloudDep) -> ModelPublic:
    """Add an uploaded bundle as a candidate. It must be complete and pass its golden cases."""
    folder = _staging(cloud.folder, app) / body.version
    if not folder.is_dir():
        raise BundleIncomplete(f"no files of {app} {body.version} were uploaded: PUT them first")
    from common.bundle import open_bundle

    bundle = open_bundle(folder, app=app)
    if bundle.version != body.version:
        raise BundleIncompatible(
            f"the manifest of the bundle names version {bundle.version}, not {body.version}"
        )
    row = cloud.registry.add(folder, state="candidate")
    shutil.rmtree(folder, ignore_errors=True)
    return ModelPublic.of(row)


def _staging(folder: FilePath, app: str) -> FilePath:
    return folder / "incoming" / app


def _stage(folder: FilePath, app: str, version: str) -> FilePath:
    """The folder of a bundle's uploaded files; expired folders are removed, and their number is bounded."""
    staging = _staging(folder, app)
    staging.mkdir(parents=True, exist_ok=True)
    for other in staging.iterdir():
        if other.name != version and time.time() - other.stat().st_mtime > STAGED_LIFE_S:
            shutil.rmtree(other, ignore_errors=True)
    if len(list(staging.iterdir())) >= STAGED_LIMIT and not (staging / version).exists():
        raise problem(
            409, f"{STAGED_LIMIT} uploaded bundles of {app} are not added yet: add one of them first"
        )
    (staging / version).mkdir(exist_ok=True)
    return staging / version
