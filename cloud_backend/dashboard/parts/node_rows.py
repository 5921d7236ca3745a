"""Columns, rows and details of the page of a node, from the API's answers. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from cloud_backend.dashboard.parts import formatting
from common.app.cloud import CLOUD_NODE
from common.pages import Column
from common.time_notes import time_note

SCROLLED = "max-height: 460px; overflow-y: auto"
"""Style of long lists: they scroll within the card."""
EVENT_COLUMNS = (
    Column("at", "When", kind="ago"),
    Column("priority", "Priority", kind="badge"),
    Column("summary", "Event"),
)
ADOPTION_COLUMNS = (
    Column("at", "When", kind="ago"),
    Column("step", "Step", kind="badge"),
    Column("version", "Version"),
    Column("before", "From"),
    Column("rollout", "Rollout", kind="link"),
    Column("reason", "Reason"),
)
PROBLEM_COLUMNS = (
    Column("at", "Last", kind="ago"),
    Column("kind", "Problem", kind="badge"),
    Column("count", "Times"),
    Column("detail", "Detail"),
)


def event_row(event: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the timeline or of the live events, from ``GET /v1/nodes/{node}/events``."""
    return {
        "id": formatting.identity(event),
        "at": event["time_ns"],
        "at_note": time_note(event["time_quality"]),
        "priority": event["priority"],
        "priority_tone": formatting.PRIORITY_TONES.get(event["priority"], ""),
        "summary": f"{event['type']} · {formatting.event_summary(event)}",
    }


def adoption_row(step: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A row of the adoption log, from ``GET /v1/nodes/{node}/adoptions``."""
    tone = formatting.STEP_TONES.get(step["step"], "") if step["ok"] else "bad"
    return {
        "id": f"{step['time_ns']}/{step['step']}/{number}",
        "at": step["time_ns"],
        "step": step["step"],
        "step_tone": tone,
        "version": step["version"],
        "before": step["from_version"],
        "rollout": step["rollout"],
        "rollout_href": f"/ui/rollouts/{quote(step['app'], safe='')}/{quote(step['rollout'], safe='')}",
        "reason": step["reason"],
    }


def problem_row(problem: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the problems, from ``GET /v1/nodes/{node}``."""
    return {
        "id": problem["kind"],
        "at": problem["last_ns"],
        "kind": formatting.PROBLEMS.get(problem["kind"], problem["kind"]),
        "kind_tone": "bad" if problem["kind"] in ("identity_shared", "forked", "rejected") else "warn",
        "count": formatting.count(problem["count"]),
        "detail": problem["detail"],
    }


def account_details(account: Mapping[str, Any]) -> dict[str, str]:
    """Data that left a node, from ``GET /v1/audit``."""
    return {
        "Events": f"{formatting.count(account['events'])}, {formatting.size(account['event_bytes'])}",
        "Samples": f"{formatting.count(account['samples'])}, {formatting.size(account['sample_bytes'])}",
        "Samples refused": formatting.count(account["samples_refused"]),
        "Sent since its start": formatting.size(account["bytes_sent"]),
        "All its readings": formatting.size(account["bytes_raw"]),
    }


def updates_text(node: Mapping[str, Any]) -> str:
    """State of a node's updates: the newest deployment it knows, or why it cannot check."""
    updates = node["health"].get("updates")
    if not isinstance(updates, Mapping):
        return formatting.NONE
    if problem := node["update_problem"]:
        return f"update check failed ({problem}): {updates.get('detail') or 'no detail'}"
    return f"deployment {updates.get('serial', 0)}, metadata {updates.get('metadata', 0)}"


def disk_use(health: Mapping[str, Any]) -> str:
    """Rate at which a node writes to its disk; flash memory wears with it."""
    per_day = formatting.number(health, "bytes_written_per_day")
    written = formatting.number(health, "bytes_written")
    if per_day is None:
        return formatting.NONE if written is None else f"{formatting.size(written)} since its start"
    return f"{formatting.size(per_day)} a day"


def node_page(name: str) -> str:
    """Address of a node's page; empty for `CLOUD_NODE`, which has none."""
    return "" if name == CLOUD_NODE else f"/ui/nodes/{name}"


def settings_text(health: Mapping[str, Any]) -> str:
    """Version of the change of settings that holds on a node."""
    version = formatting.number(health, "settings_version")
    return f"version {version:.0f}" if version else formatting.NONE


def details_of(node: Mapping[str, Any]) -> dict[str, str]:
    """Details of a node, from ``GET /v1/nodes/{node}``."""
    health = node["health"]
    counts = {
        "Readings": "readings",
        "Failed inferences": "inference_failures",
        "Unusable readings": "unusable",
        "Refused subjects": "refused_subjects",
        "Refused readings": "refused_readings",
        "Dropped readings": "dropped",
        "Samples waiting": "samples_waiting",
    }
    cpu_s = formatting.number(health, "cpu_s")
    offset_ms = node["clock_offset_ms"]
    return {
        "App": node["app"] or formatting.NONE,
        "Site": node["site"],
        "Profile": node["profile"] or formatting.NONE,
        "Tags": ", ".join(node["tags"]) or formatting.NONE,
        "Problems on the node": formatting.node_problems(health),
        "Source": formatting.source(health),
        "Alarms at the machine": formatting.local_alarms(health),
        **{name: formatting.count(formatting.number(health, key)) for name, key in counts.items()},
        "Memory": formatting.size(formatting.number(health, "rss_bytes")),
        "Written to its disk": disk_use(health),
        "CPU time": formatting.NONE if cpu_s is None else f"{formatting.figure(cpu_s)} s",
        "Clock": "correct" if not offset_ms else f"wrong by {offset_ms:,} ms, corrected on arrival",
        "Updates": updates_text(node),
        "Settings from the cloud": settings_text(health),
        "Enrolled": formatting.since(node["enrolled_ns"], time.time_ns()),
    }
