"""The picture of a camera on a page: its newest still, or a plain drawing of the picture's size.

A still left the node with blurred heads, where the node's own settings allow it. There is no other picture.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
from nicegui import ui

from apps.retail.domain import CameraLayout
from common.pages import View

NEWEST = 100
SIZE_PX = (640, 480)
GRID_PX = 40
NO_STILL = (
    "No still of this camera: none leaves the node unless its own settings file allows it ([settings] "
    "stills = true; heads are blurred first)."
)


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera as a page begins: layouts, change of the node's settings, and a still if there is one.

    ``layout`` is the saved one, ``used`` the one that the node reported last.
    """

    layout: CameraLayout
    used: CameraLayout
    settings: Mapping[str, Any]
    version: int
    size_px: tuple[int, int]
    still: Mapping[str, Any] | None
    jpeg: bytes

    @property
    def source(self) -> str:
        """The picture as a data URL."""
        return jpeg_url(self.jpeg) if self.jpeg else plain_drawing(self.size_px)

    def scale(self, size_px: tuple[int, int]) -> float:
        """Pixels of the shown picture by pixel of a layout of ``size_px``."""
        if self.jpeg and self.still is not None:
            return float(self.still["attributes"].get("width_px", size_px[0])) / size_px[0]
        return self.size_px[0] / size_px[0]


def node_path(node: str) -> str:
    """Path of a node in the API."""
    return f"/v1/nodes/{quote(node, safe='')}"


async def load_camera(view: View, node: str, camera: str) -> Camera:
    """A camera of a node. Raises `ApiError` for an unknown node."""
    path = node_path(node)
    change = await view.api.get(f"{path}/settings")
    saved = change["settings"].get("cameras", {}).get(camera)
    begun = await newest_event(view, node, "retail.camera_begun", camera)
    reported = await newest_event(view, node, "retail.layout", camera)
    used = layout_of(reported["data"]["layout"] if reported else {})
    still = await _newest_still(view, node, camera)
    jpeg = b""
    if still is not None:
        content = await view.api.get(f"/v1/samples/{still['id']}/content")
        jpeg = bytes(content["arrays"]["jpeg"])
    size_px = (begun["data"]["width_px"], begun["data"]["height_px"]) if begun else SIZE_PX
    return Camera(
        layout_of(saved) if saved else used, used, change["settings"], change["version"], size_px, still, jpeg
    )


async def newest_event(view: View, node: str, kind: str, camera: str) -> dict[str, Any] | None:
    """The newest event of a kind about a camera, among the newest of its node."""
    page = await view.api.get(f"{node_path(node)}/events", type=kind, order="newest", limit=NEWEST)
    return next((each for each in page["items"] if each["subject"] == camera), None)


async def _newest_still(view: View, node: str, camera: str) -> Mapping[str, Any] | None:
    page = await view.api.get("/v1/samples", app="retail", subject=camera, order="newest", limit=NEWEST)
    own = (each for each in page["items"] if each["node"] == node)
    return next(filter(is_still, own), None)


def is_still(sample: Mapping[str, Any]) -> bool:
    """Whether a picture was sent to draw lines and zones on, rather than to learn from."""
    return "still" in sample["reasons"]


def layout_of(plain: Mapping[str, Any]) -> CameraLayout:
    """A layout of JSON values; an empty one for what is none."""
    try:
        return msgspec.convert(plain, CameraLayout)
    except msgspec.ValidationError:
        return CameraLayout()


def jpeg_url(content: bytes) -> str:
    """A JPEG as a data URL."""
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode('ascii')}"


def plain_drawing(size_px: tuple[int, int]) -> str:
    """A grid of a picture's size as a data URL."""
    width, height = size_px
    lines = "".join(f"M{x} 0V{height}" for x in range(0, width, GRID_PX))
    lines += "".join(f"M0 {y}H{width}" for y in range(0, height, GRID_PX))
    plan = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        f'<rect width="{width}" height="{height}" fill="#f1f5f9"/>'
        f'<path d="{lines}" stroke="#cbd5e1"/></svg>'
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(plan.encode()).decode('ascii')}"


def describe(picture: ui.interactive_image, text: str) -> None:
    """Give the picture a text for screen readers."""
    image = f"getElement({picture.id}).$refs.img"
    picture.on("loaded", js_handler=f"() => {{ {image}.alt = {msgspec.json.encode(text).decode()}; }}")
