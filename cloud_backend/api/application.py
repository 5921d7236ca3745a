"""The API as one ASGI application, built from a `Cloud`."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer

from cloud_backend.api import problem
from cloud_backend.api.auth import sign_in, sign_in_links
from cloud_backend.api.auth.middleware import AuthMiddleware, BodyLimit
from cloud_backend.api.dependencies import AppDependencies
from cloud_backend.api.event_schemas import describe_events
from cloud_backend.api.json_bodies import JsonBodies
from cloud_backend.api.page_headers import PageHeaders
from cloud_backend.api.ranges import SingleRange
from cloud_backend.api.root_mounts import MountErrors, open_paths, root_mounts
from cloud_backend.api.routes import (
    alerts,
    audit,
    events,
    fleet,
    jobs,
    keys,
    labels,
    models,
    node_settings,
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
Errors are problem documents (RFC 9457). Lists are paginated: pass `next` of a page as `cursor`.
Times are UTC nanoseconds. The update repository is served under `/tuf/metadata` and `/tuf/targets` as
static files with ETags; a request may have one range.
"""
TAGS = [
    {"name": "nodes", "description": "The fleet."},
    {
        "name": "events",
        "description": "Events of nodes, alerts, health history, quarantine.",
    },
    {"name": "models", "description": "The model registry."},
    {"name": "rollouts", "description": "Staged deployment of versions to the fleet."},
    {"name": "keys", "description": "Signing keys of the update repository."},
    {"name": "jobs", "description": "Training jobs."},
    {"name": "samples", "description": "Training samples uploaded by nodes."},
    {"name": "labels", "description": "Ground truth about samples."},
    {"name": "audit", "description": "Actions of operators."},
    {"name": "status", "description": "Status and health of the cloud."},
    {"name": "sessions", "description": "Sessions and sign-in links."},
]
ROUTERS = (
    nodes,
    node_settings,
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
    """The API of ``cloud``: its routes, those of apps under ``/v1/apps/<app>`` and their mounts, updates."""
    api: Any = FastAPI(
        title="edgeloop",
        version=installed_version("edgeloop"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        redoc_url=None,
        dependencies=[
            Depends(HTTPBearer(auto_error=False, description="Token of the admin, a session or a node"))
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
    mounts = root_mounts(cloud.projections, deps)
    for path, mount in mounts.items():
        api.include_router(mount.router, prefix=path, include_in_schema=False)
    api.mount("/tuf/metadata", UpdateFiles(cloud.repository.metadata, immutable=False), name="tuf-metadata")
    api.mount("/tuf/targets", UpdateFiles(cloud.repository.targets, immutable=True), name="tuf-targets")
    api.add_middleware(JsonBodies)
    api.add_middleware(BodyLimit, sample_limit_bytes=cloud.settings.http.sample_limit_bytes)
    api.add_middleware(AuditTrail, audit=cloud.access.audit)
    http = cloud.settings.http  # the middleware added last runs first
    api.add_middleware(
        AuthMiddleware,
        access=cloud.access,
        public_url=http.public_url,
        sockets_limit=http.dashboard_sockets,
        open_paths=open_paths(mounts),
    )
    api.add_middleware(PageHeaders, frame_ancestors=http.frame_ancestors)
    api.add_middleware(SingleRange)
    if mounts:
        api.add_middleware(MountErrors, mounts=mounts)
    describe_events(api, cloud.apps)
    return api
