"""Details and rows of a version's manifest. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloud_backend.dashboard.parts import comparison, formatting, lineage

COLUMNS_SHOWN = 8
"""Maximum number of columns of a tensor that are named in its row."""


def details_of(found: Mapping[str, Any]) -> dict[str, str]:
    """Details of a version from its manifest."""
    manifest = found["manifest"]
    made = manifest.get("lineage", {})
    drift = manifest.get("drift")
    latency = formatting.number(manifest.get("limits", {}), "latency_ms")
    details = {
        "Task": manifest.get("task", formatting.NONE),
        "Trained": made.get("trained_at") or formatting.NONE,
        "Approved by": found["approved_by"] or "nobody",
        "Precision": manifest.get("precision", formatting.NONE),
        "Licence": manifest.get("licence", formatting.NONE),
        "Latency limit": f"{formatting.milliseconds(latency)} a run" if latency is not None else "none",
        "Drift detection": (
            f"{drift['output']} over {comparison.figure(drift['threshold'])}, as in "
            f"{formatting.percent(drift['rate'], 1.0)} of the training data"
            if drift
            else "none"
        ),
        "Manifest": f"sha256 {found['manifest_digest'][:16]}…",
    }
    if found.get("approval_reason"):
        details["Reason of the approval"] = found["approval_reason"]
    if not found["job"]:
        details["Origin"] = origin(found)
    return {name: str(value) for name, value in details.items()}


def origin(found: Mapping[str, Any]) -> str:
    """Origin of a version: the id of its job, or a text."""
    return found["job"] or ("bundled with the app" if not found["created_ns"] else "added by an operator")


def origins(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Links to the parent and the training job of a version."""
    app, links = found["app"], []
    if found["parent"]:
        links.append((f"Parent {found['parent']}", lineage.version_path(app, found["parent"])))
    if found["job"]:
        links.append((f"Trained by {found['job']}", lineage.job_path(app, found["job"])))
    return links


def tensor_rows(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the model's inputs and outputs."""
    rows: list[dict[str, Any]] = []
    for way in ("input", "output"):
        for tensor in manifest.get(f"{way}s", []):
            shape = " × ".join("any" if size is None else str(size) for size in tensor.get("shape", []))
            names = tensor.get("columns", [])
            listed = ", ".join(names) if len(names) <= COLUMNS_SHOWN else f"{len(names)} columns"
            rows.append(
                {
                    "id": f"{way} {tensor['name']}",
                    "name": tensor["name"],
                    "way": way,
                    "shape": f"{tensor['dtype']}, {shape or 'one value'}",
                    "unit": tensor.get("unit", "") or formatting.NONE,
                    "content": listed or tensor.get("preprocessing", "") or formatting.NONE,
                }
            )
    return rows
