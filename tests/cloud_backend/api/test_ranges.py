"""Ranges of files: one is served, many are refused before anything is read, with or without a token."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from cloud_backend.runtime.cloud import Cloud
from tests.cloud_backend.conftest import either_database as database

__all__ = ["database"]
PATHS = ("/tuf/metadata/1.root.json", "/tuf/targets/large", "/ui/_nicegui/3.0/static/x.js", "/healthz")
SIZE_BYTES = 300_000


@pytest.fixture(scope="module", autouse=True)
def large(cloud: Cloud) -> None:
    (cloud.repository.targets / "large").write_bytes(bytes(range(100)) * (SIZE_BYTES // 100))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "ranges",
    [
        "bytes=" + ",".join("0-" for _ in range(1000)),
        "bytes=" + ",".join(f"{start}-" for start in range(500)),
        "bytes=" + ",".join(f"{start}-{start}" for start in range(0, 5000, 2)),
        "bytes=0-0,-1",
        "bytes=" + "-" * 5000,
        "bytes=" + "1" * 5000 + "-",
        "lines=1-2",
    ],
    ids=["same", "overlapping", "many", "two", "dashes", "digits", "unit"],
)
def test_many_ranges_are_refused(admin: TestClient, anyone: TestClient, path: str, ranges: str) -> None:
    for client in (admin, anyone):
        answer = client.get(path, headers={"Range": ranges})
        assert answer.status_code == 416
        assert len(answer.content) < 1000


def test_ranges_in_several_headers_are_refused(admin: TestClient) -> None:
    headers = [("Range", "bytes=0-9"), ("Range", "bytes=5-19")]
    assert admin.get("/tuf/targets/large", headers=headers).status_code == 416


@pytest.mark.parametrize(
    ("range", "first", "length"),
    [
        ("bytes=1000-", 1000, SIZE_BYTES - 1000),
        ("bytes=0-9", 0, 10),
        ("bytes=-7", SIZE_BYTES - 7, 7),
        (f"bytes=7-{10**17}", 7, SIZE_BYTES - 7),
    ],
)
def test_one_range_is_served(admin: TestClient, range: str, first: int, length: int) -> None:
    answer = admin.get("/tuf/targets/large", headers={"Range": range})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{first + length - 1}/{SIZE_BYTES}"
    assert len(answer.content) == length


def test_a_range_behind_the_end_is_unsatisfiable(admin: TestClient, api: FastAPI) -> None:
    assert admin.get("/tuf/targets/large", headers={"Range": f"bytes={SIZE_BYTES}-"}).status_code == 416
