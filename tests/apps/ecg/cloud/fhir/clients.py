"""The FHIR API over a store, and what a client reads from its answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.testclient import TestClient

from apps.ecg.cloud.projection import EcgCloud
from cloud_backend.access.tokens import Principal
from cloud_backend.api import problem
from cloud_backend.api.auth.middleware import AuthMiddleware, BodyLimit
from cloud_backend.api.dependencies import AppDependencies
from cloud_backend.api.root_mounts import MountErrors, open_paths, root_mounts
from common.errors import AccessDenied

sqlite = pytest.mark.parametrize("migrated_store", ["sqlite"], indirect=True)


class Doorkeeper:
    """Knows one token, and no sessions."""

    def principal(self, token: str) -> Principal:
        if token == "node":
            return Principal("node")
        if token != "right":
            raise AccessDenied("unknown")
        return Principal("admin", name="admin")

    def person(self, token: str) -> None:
        return None

    def is_signed_in(self, token: str) -> bool:
        return False


def make_api(engine: Engine, **settings: Any) -> FastAPI:
    api = FastAPI()
    api.state.cloud = SimpleNamespace(engine=engine)
    problem.install(api)
    mounts = root_mounts({"ecg": EcgCloud()}, AppDependencies({"ecg": settings}))
    for path, mount in mounts.items():
        api.include_router(mount.router, prefix=path, include_in_schema=False)
    api.add_middleware(BodyLimit, sample_limit_bytes=1)
    api.add_middleware(AuthMiddleware, access=Doorkeeper(), open_paths=open_paths(mounts))
    api.add_middleware(MountErrors, mounts=mounts)
    return api


def ids(bundle: dict[str, Any]) -> list[str]:
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "searchset")
    matches = [each for each in bundle.get("entry", []) if each["search"]["mode"] == "match"]
    return [each["resource"]["id"] for each in matches]


def all_pages(fhir: TestClient, path: str) -> list[str]:
    found: list[str] = []
    for _ in range(200):
        bundle = fhir.get(path).raise_for_status().json()
        found += ids(bundle)
        links = {link["relation"]: link["url"] for link in bundle["link"]}
        if "next" not in links:
            return found
        parts = urlsplit(links["next"])
        path = f"{parts.path}?{parts.query}"
    raise AssertionError("the pages do not end")


def issue(answer: Any) -> tuple[str, str]:
    assert answer.headers["content-type"].startswith("application/fhir+json")
    body = answer.json()
    assert body["resourceType"] == "OperationOutcome"
    return body["issue"][0]["code"], body["issue"][0]["diagnostics"]
