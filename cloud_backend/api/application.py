"""The API as one ASGI application, made from a `Cloud` that is passed in."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer

from cloud_backend.api import problem
from cloud_backend.api.auth import sign_in, sign_in_links
from cloud_backend.api.auth.middleware import BodyLimit, TokenGuard
from cloud_backend.api.dependencies import AppDependencies
from cloud_backend.api.event_schemas import describe_events
from cloud_backend.api.json_bodies import JsonBodies
from cloud_backend.api.page_headers import PageHeaders
from cloud_backend.api.ranges import OneRange
from cloud_backend.api.root_mounts import MountedErrors, mounts_of, open_paths_of
from cloud_backend.api.routes import (
    alerts,
    audit,
    events,
    fleet,
    jobs,
    keys,
    labels,
    models,
    nodes,
    rollouts,
    samples,
    status,
)
from cloud_backend.api.routes.audit import AuditTrail
from cloud_backend.api.routes.updates import UpdateFiles

if TYPE_CHECKING:
    from cloud_backend.runtime.cloud import Cloud

DESCRIPTION = """\
Errors are problem documents (RFC 9457). Lists are pages: pass `next` of one as `cursor` of the next.
Times are UTC nanoseconds. The update repository lies under `/tuf/metadata` and `/tuf/targets` as
static files with ETags; a request may ask for one range.
"""
TAGS = [
    {"name": "nodes", "description": "The fleet."},
    {"name": "events", "description": "What nodes sent, each event once and in order."},
    {"name": "models", "description": "The model registry."},
    {"name": "rollouts", "description": "Versions on their way to the fleet."},
    {"name": "keys", "description": "Signing keys of the update repository."},
    {"name": "jobs", "description": "Training."},
    {"name": "samples", "description": "What nodes upload to learn from."},
    {"name": "labels", "description": "What turned out to be true."},
    {"name": "audit", "description": "What operators did."},
    {"name": "status", "description": "The cloud itself."},
    {"name": "sessions", "description": "People who are signed in."},
]
ROUTERS = (
    nodes,
    fleet,
    events,
    alerts,
    models,
    rollouts,
    keys,
    jobs,
    samples,
    labels,
    status,
    audit,
    sign_in_links,
    sign_in,
)


def create_api(cloud: Cloud) -> FastAPI:
    """The API of ``cloud``: its own routes, every app's under ``/v1/apps/<app>`` and its mounts, updates."""
    api: Any = FastAPI(
        title="edgeloop",
        version=installed_version("edgeloop"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        redoc_url=None,
        dependencies=[
            Depends(HTTPBearer(auto_error=False, description="The admin's, a session's or a node's token"))
        ],
    )
    api.state.cloud = cloud
    problem.install(api)
    for module in ROUTERS:
        api.include_router(module.router)
    deps = AppDependencies(cloud.settings.apps)
    for name, projection in cloud.projections.items():
        responses = problem.responses(404, 422)
        api.include_router(projection.router(deps), prefix=f"/v1/apps/{name}", responses=responses)
    mounts = mounts_of(cloud.projections, deps)
    for path, mount in mounts.items():
        api.include_router(mount.router, prefix=path, include_in_schema=False)
    api.mount("/tuf/metadata", UpdateFiles(cloud.repository.metadata, immutable=False), name="tuf-metadata")
    api.mount("/tuf/targets", UpdateFiles(cloud.repository.targets, immutable=True), name="tuf-targets")
    api.add_middleware(JsonBodies)
    api.add_middleware(BodyLimit, sample_limit_bytes=cloud.settings.http.sample_limit_bytes)
    api.add_middleware(AuditTrail, audit=cloud.access.audit)
    http = cloud.settings.http  # what is added last stands first
    api.add_middleware(
        TokenGuard,
        access=cloud.access,
        public_url=http.public_url,
        sockets_limit=http.dashboard_sockets,
        open_paths=open_paths_of(mounts),
    )
    api.add_middleware(PageHeaders, frame_ancestors=http.frame_ancestors)
    api.add_middleware(OneRange)
    if mounts:
        api.add_middleware(MountedErrors, mounts=mounts)
    describe_events(api, cloud.apps)
    return api
