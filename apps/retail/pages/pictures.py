"""The account of pictures that left nodes: by node, with what its own settings allow, and the newest ones."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui

from apps.retail.pages.camera_picture import is_still
from common.pages import Column, Pager, Table, Text, Tile, View, card, quantities
from common.pages.blocks import Tone

API = "/v1/apps/retail"
NODES, CAMERAS, SHOWN = 500, 200, 50
REFRESH_S = 10.0
NODE_COLUMNS = (
    Column("node", "Node", kind="link"),
    Column("site", "Store"),
    Column("allowed", "Allowed by its own settings", kind="badge"),
    Column("pictures", "Pictures", kind="number", hint="Stored by the cloud since the node was enrolled"),
    Column("size", "Their size", kind="number"),
    Column("refused", "Refused", kind="number"),
    Column("share", "Sent of all frames", kind="bar", hint="Bytes since the node's last start"),
)
PICTURE_COLUMNS = (
    Column("node", "Node", kind="link"),
    Column("camera", "Camera"),
    Column("kind", "Kind", kind="badge"),
    Column("why", "Reason"),
    Column("size", "Size", kind="number"),
    Column("heads", "Heads"),
    Column("at", "Captured", kind="ago"),
)
Json = Mapping[str, Any]


async def show_pictures(view: View) -> None:
    """Build the page."""
    with ui.element("div").classes("tiles"):
        left, size, allowed = (Tile(name) for name in ("Pictures", "Their size", "Nodes that may send some"))
    hint = (
        "All else that leaves is numbers. Nothing from the cloud can allow pictures: a node's own file does."
    )
    with card("By node", hint, wide=True):
        nodes = Table("Pictures by node", NODE_COLUMNS, empty_text="No node of this app is enrolled.")
        with ui.element("div").classes("row-of"):
            Text("a", "All data that nodes sent").props["href"] = "/ui/data"
    with card("Newest pictures", "Each is an event of its node as well, with its digest.", wide=True):
        newest = Table("Newest pictures", PICTURE_COLUMNS, empty_text="No picture has left a node.")
        pager = Pager(lambda: refresh())

    async def refresh() -> None:
        audit, cameras, page = await asyncio.gather(
            view.api.get("/v1/audit", app="retail", limit=NODES),
            view.api.get(f"{API}/cameras", limit=CAMERAS),
            view.api.get(
                "/v1/samples", app="retail", order="newest", limit=SHOWN, cursor=pager.cursor or None
            ),
        )
        own = audit["items"]
        kinds = allowed_kinds(cameras["items"])
        left.show(f"{sum(each['samples'] for each in own):,}", "since the nodes were enrolled")
        size.show(quantities.size(sum(each["sample_bytes"] for each in own)), "heads blurred on the node")
        may = sum(bool(kinds.get(each["node"])) for each in own)
        allowed.show(str(may), f"of {len(own)}", "warn" if may else "good")
        nodes.show([node_row(each, kinds.get(each["node"])) for each in own])
        newest.show([picture_row(each) for each in page["items"]])
        pager.show(page)

    await view.live(refresh, REFRESH_S)


def allowed_kinds(cameras: Iterable[Json]) -> dict[str, set[str]]:
    """Kinds of pictures that each node may send; nodes that have not said so are absent."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for camera in cameras:
        if camera["pictures"] is not None:
            found[camera["node"]] |= set(camera["pictures"])
    return dict(found)


def node_row(account: Json, kinds: set[str] | None) -> dict[str, Any]:
    """A node as a row of the table."""
    sent, raw = account["bytes_sent"], account["bytes_raw"]
    text = "unknown" if kinds is None else ", ".join(sorted(kinds)) or "no picture"
    tone: Tone = "" if kinds is None else "warn" if kinds else "good"
    return {
        "id": account["node"],
        "node": account["node"],
        "node_href": f"/ui/nodes/{quote(account['node'], safe='')}",
        "site": account["site"],
        "allowed": text,
        "allowed_tone": tone,
        "pictures": f"{account['samples']:,}",
        "size": quantities.size(account["sample_bytes"]),
        "refused": f"{account['samples_refused']:,}",
        "share": sent / raw if raw else None,
        "share_text": f"{sent / raw:.4%} of {quantities.size(raw)}" if raw else "–",
    }


def picture_row(sample: Json) -> dict[str, Any]:
    """A picture as a row of the table."""
    still = is_still(sample)
    return {
        "id": sample["id"],
        "node": sample["node"],
        "node_href": f"/ui/nodes/{quote(sample['node'], safe='')}",
        "camera": sample["subject"],
        "kind": "still" if still else "sample",
        "kind_tone": "info" if still else "",
        "why": "to draw lines and zones on" if still else reason_text(sample["reasons"]),
        "size": quantities.size(sample["size"]),
        "heads": str(sample["attributes"].get("heads", "unknown")),
        "at": sample["captured_ns"],
    }


def reason_text(reasons: Mapping[str, float]) -> str:
    """Reasons with a score, the strongest first."""
    strongest_first = sorted(reasons.items(), key=lambda each: -each[1])
    return ", ".join(
        f"{name.replace('_', ' ')} {score:.2f}" for name, score in strongest_first if score >= 0.005
    )
