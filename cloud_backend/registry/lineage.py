"""Lineage of a model: its ancestors, each with its data, its code and its approval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloud_backend.store.tables import ModelVersion

LINEAGE_LIMIT = 1000
"""Longest chain of parents."""


def lineage_of(row: ModelVersion, find: Callable[[str], ModelVersion | None]) -> list[dict[str, Any]]:
    """A version and its ancestors, nearest first; ``find`` gives the row of a version.

    An unknown ancestor ends the chain with ``known`` False; one that repeats ends it without.
    """
    chain: list[dict[str, Any]] = []
    seen: set[str] = set()
    found: ModelVersion | None = row
    while found is not None and len(chain) < LINEAGE_LIMIT:
        chain.append(_ancestor(found))
        seen.add(found.version)
        parent = found.parent
        if not parent or parent in seen:
            break
        found = find(parent)
        if found is None:
            chain.append({"version": parent, "known": False})
    return chain


def _ancestor(row: ModelVersion) -> dict[str, Any]:
    lineage = row.manifest.get("lineage", {})
    return {
        "version": row.version,
        "known": True,
        "state": row.state,
        "parent": row.parent,
        "job": row.job,
        "approved_by": row.approved_by,
        "approval_reason": row.approval_reason,
        "data": lineage.get("data", {}),
        "code": lineage.get("code", ""),
        "seed": lineage.get("seed", 0),
        "trained_at": lineage.get("trained_at", ""),
        "manifest_digest": row.manifest_digest,
        "created_ns": row.created_ns,
    }
