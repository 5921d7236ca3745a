"""The virtual cameras of a store as sources: ``virtual:entrance?seed=7&people=busy&light=fog:60-120``.

Scenes: entrance, aisle, crowd, queue, doorway (`hardware.virtual_camera.scenes`); parameters are those of
`hardware.virtual_camera.source`. The readings carry the layout of the scene (lines, zones, plan), so that the
app counts without settings; settings for the camera replace it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from apps.retail.domain import CameraLayout, CountingLine, CountingZone, FloorPlan
from common.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from hardware.virtual_camera.pinhole import PinholeCamera
    from hardware.virtual_camera.scene import Scene
    from hardware.virtual_camera.source import VirtualCamera, VirtualCameraSource

SCENES = ("entrance", "aisle", "crowd", "queue", "doorway")
QUEUE_S = 3.0
"""Time in a queue's zone from which a virtual person waits."""
PLAN_MARGIN_M = 1.0


def open_source(kind: str, parameters: Mapping[str, str], speed: float) -> VirtualCameraSource:
    """The source ``virtual:KIND?...``. Raises `SourceError` or `ConfigError`."""
    if kind not in SCENES:
        raise SourceError(f"the retail app has no virtual source {kind!r}; it has {', '.join(SCENES)}")
    try:
        from hardware.virtual_camera.source import open_camera
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the virtual camera needs {error.name}, which is not installed: pip install 'edgeloop[vision]'"
        ) from error
    return open_camera(kind, parameters, speed, _layout_attribute)


def _layout_attribute(camera: VirtualCamera) -> dict[str, object]:
    return {"layout": msgspec.to_builtins(layout_of(camera.scene, camera.camera))}


def layout_of(scene: Scene, camera: PinholeCamera) -> CameraLayout:
    """Lines, zones and plan of a scene in the picture of ``camera``."""

    def to_image(points_m: ArrayLike) -> list[tuple[float, float]]:
        return [(round(float(x), 1), round(float(y), 1)) for x, y in camera.ground_plane.to_image(points_m)]

    places = np.array(
        [
            *scene.reference_points_m,
            *(point for line in scene.lines for point in (line.start_m, line.end_m)),
            *(point for zone in scene.zones for point in zone.polygon_m),
        ]
    )
    low, high = places.min(axis=0) - PLAN_MARGIN_M, places.max(axis=0) + PLAN_MARGIN_M
    queues = {queue.name for queue in scene.queues}
    return CameraLayout(
        size_px=(camera.width_px, camera.height_px),
        lines=[
            CountingLine(name=line.name, start=start, end=end, entrance=scene.name == "entrance")
            for line in scene.lines
            for start, end in [to_image([line.start_m, line.end_m])]
        ],
        zones=[
            CountingZone(
                name=zone.name,
                polygon=to_image(zone.polygon_m),
                queue_s=QUEUE_S if zone.name in queues else 0.0,
            )
            for zone in scene.zones
        ],
        plan=FloorPlan(
            width_m=float(high[0] - low[0]),
            height_m=float(high[1] - low[1]),
            image_points_px=to_image(scene.reference_points_m),
            plan_points_m=[(x - float(low[0]), y - float(low[1])) for x, y in scene.reference_points_m],
        ),
        version=f"virtual {scene.name}",
    )
