"""Lineage of a version: data, code and job of it and its ancestors, as a drawing and as text. Pure.

The drawing has a column per version, the oldest at the left, with its inputs below it; an input that equals
that of the version before is marked as unchanged. One unit is one pixel, so that nothing overlaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cloud_backend.dashboard.parts.formatting import plural

DRAWN = 4
"""Maximum number of versions in the drawing; the text has all."""
DIGEST_CHARACTERS = 12
_BOX_PX = (184, 42)
_COLUMN_PX, _ROW_PX = 330, 54
_STEM_PX = 202
"""From the left of a column to the vertical line up to its version."""
_MARGIN_PX = 6
_ROUNDED = "path://M8,0H176A8,8,0,0,1,184,8V34A8,8,0,0,1,176,42H8A8,8,0,0,1,0,34V8A8,8,0,0,1,8,0Z"
_COLOURS = {"version": "#0f766e", "data": "#334155", "code": "#4338ca", "job": "#92400e"}
_UNKNOWN = "#64748b"


@dataclass(frozen=True, slots=True)
class Drawing:
    """Options of a chart and its size."""

    options: dict[str, Any]
    width_px: int
    height_px: int


def drawing(chain: Sequence[Mapping[str, Any]]) -> Drawing:
    """The graph of a chain, nearest ancestor first as the API gives it."""
    shown = list(reversed(chain[:DRAWN]))
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    before: set[str] = set()
    depth = 0
    for column, link in enumerate(shown):
        left = column * _COLUMN_PX
        made_from = _inputs(link)
        depth = max(depth, len(made_from))
        _add_version(nodes, column, link)
        if column and link.get("parent") == shown[column - 1]["version"]:
            edges.append(_edge(f"{column - 1} right", f"{column} left", "parent", arrow=True))
        last = f"{column} foot"
        for row, (kind, identity, text) in enumerate(made_from, start=1):
            y = _BOX_PX[1] // 2 + row * _ROW_PX
            same = "\nunchanged" if identity in before else ""
            label = text.partition("\n")[0] + same if same else text
            nodes.append(_box(f"{column} {identity}", label, left + _BOX_PX[0] // 2, y, _COLOURS[kind]))
            nodes.append(_point(f"{column} row {row}", left + _STEM_PX, y))
            edges.append(_edge(f"{column} {identity}", f"{column} row {row}"))
            edges.append(_edge(f"{column} row {row}", last, arrow=row == 1))
            last = f"{column} row {row}"
        before = {identity for _, identity, _ in made_from}
    width = (len(shown) - 1) * _COLUMN_PX + _STEM_PX + _BOX_PX[0] // 2
    height = _BOX_PX[1] + depth * _ROW_PX
    nodes += [_point("first corner", 0, 0), _point("last corner", width, height)]
    series = {
        "type": "graph",
        "layout": "none",
        "left": _MARGIN_PX,
        "top": _MARGIN_PX,
        "width": width,
        "height": height,
        "symbol": _ROUNDED,
        "symbolSize": list(_BOX_PX),
        "edgeSymbolSize": 8,
        "silent": True,
        "label": {
            "show": True,
            "color": "#ffffff",
            "fontSize": 12,
            "lineHeight": 16,
            "width": _BOX_PX[0] - 14,
            "overflow": "truncate",
        },
        "lineStyle": {"color": "#7b8794", "width": 1.5, "opacity": 1, "curveness": 0},
        "data": nodes,
        "links": edges,
    }
    return Drawing(
        {"series": [series], "tooltip": {"show": False}, "legend": {"show": False}},
        width + 2 * _MARGIN_PX,
        height + 2 * _MARGIN_PX,
    )


def text_rows(app: str, chain: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All inputs of each version of the chain as rows, with whole digests."""
    rows: list[dict[str, Any]] = []
    for link in chain:
        version = str(link["version"])
        if not link.get("known"):
            rows.append(_row(app, version, "version", "", "not in the registry"))
            continue
        if link.get("parent"):
            parent = str(link["parent"])
            rows.append(_row(app, version, "parent", parent, "", version_path(app, parent)))
        if link.get("job"):
            seed = f"seed {link.get('seed', 0)}"
            rows.append(_row(app, version, "job", str(link["job"]), seed, job_path(app, str(link["job"]))))
        if link.get("code"):
            rows.append(_row(app, version, "code", str(link["code"]), str(link.get("trained_at", ""))))
        for name, digest in (link.get("data") or {}).items():
            rows.append(_row(app, version, "data", str(name), str(digest)))
        if link.get("approved_by"):
            reason = str(link.get("approval_reason", ""))
            rows.append(_row(app, version, "approval", str(link["approved_by"]), reason))
    return rows


def sentence(chain: Sequence[Mapping[str, Any]]) -> str:
    """The chain in one sentence, also as the text alternative of the drawing."""
    if not chain:
        return "Unknown origin."
    steps = [str(link["version"]) for link in reversed(chain)]
    made_from = plural(len(chain[0].get("data") or {}), "data set")
    if len(steps) == 1:
        return f"{steps[0]} has no parent; trained from {made_from}."
    return f"{' → '.join(steps)}, trained from {steps[-2]} and {made_from}."


def version_path(app: str, version: str) -> str:
    """The page of a version."""
    return f"/ui/models/{quote(app, safe='')}/{quote(version, safe='')}"


def job_path(app: str, job: str) -> str:
    """The page of a job."""
    return f"/ui/learning/{quote(app, safe='')}/jobs/{quote(job, safe='')}"


def _inputs(link: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """``(kind, identity, text)`` of each input of a version."""
    found = [
        ("data", f"data {name} {digest}", f"{name}\n{str(digest)[:DIGEST_CHARACTERS]}")
        for name, digest in (link.get("data") or {}).items()
    ]
    if link.get("code"):
        found.append(("code", f"code {link['code']}", f"code\n{link['code']}"))
    if link.get("job"):
        found.append(("job", f"job {link['job']}", f"{link['job']}\nseed {link.get('seed', 0)}"))
    return found


def _add_version(nodes: list[dict[str, Any]], column: int, link: Mapping[str, Any]) -> None:
    """The box of a version, and the points at its sides where edges end."""
    x, y = column * _COLUMN_PX + _STEM_PX, _BOX_PX[1] // 2
    known = bool(link.get("known"))
    state = str(link.get("state", "")) if known else "not in the registry"
    colour = _COLOURS["version"] if known else _UNKNOWN
    nodes += [
        _box(f"{column} version", f"{link['version']}\n{state}", x, y, colour),
        _point(f"{column} left", x - _BOX_PX[0] // 2, y),
        _point(f"{column} right", x + _BOX_PX[0] // 2, y),
        _point(f"{column} foot", x, _BOX_PX[1]),
    ]


def _box(id: str, text: str, x: int, y: int, colour: str) -> dict[str, Any]:
    return {"id": id, "name": text, "x": x, "y": y, "itemStyle": {"color": colour}}


def _point(id: str, x: int, y: int) -> dict[str, Any]:
    """An invisible node: the end or bend of an edge, or a corner that fixes the scale."""
    return {"id": id, "name": "", "x": x, "y": y, "symbolSize": 0, "label": {"show": False}}


def _edge(source: str, target: str, text: str = "", *, arrow: bool = False) -> dict[str, Any]:
    edge: dict[str, Any] = {"source": source, "target": target}
    edge["symbol"] = ["none", "arrow" if arrow else "none"]
    if text:
        edge["label"] = {"show": True, "formatter": text, "color": "#7b8794", "fontSize": 12}
    return edge


def _row(app: str, version: str, what: str, name: str, detail: str, href: str = "") -> dict[str, Any]:
    return {
        "id": f"{version} {what} {name}",
        "version": version,
        "version_href": version_path(app, version),
        "what": what,
        "name": name,
        "name_href": href,
        "detail": detail,
    }
