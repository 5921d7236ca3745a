"""Requests of clients: all pages of a list, and the upload of a sample."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from common.samples import encode_sample
from tests.cloud_backend.learner import NAME

PROBLEM = "application/problem+json"


def all_items(client: TestClient, path: str, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = client.get(path, params={**query, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            return items


def announcement(content: bytes, **changes: Any) -> dict[str, Any]:
    return {
        "app": NAME,
        "subject": "machine-1",
        "group": "machine-1/run-1",
        "captured_ns": 1,
        "reasons": {"novelty": 0.9},
        "attributes": {"run": 1},
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    } | changes


def sample_of(number: int, length: int = 500) -> bytes:
    return encode_sample({"values": np.random.default_rng(number).normal(size=length)})


def send(client: TestClient, id: str, offset: int, content: bytes) -> Any:
    headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    return client.patch(f"/v1/samples/{id}", content=content, headers=headers)
