"""The store entrance of `hardware.virtual_camera.scenes.entrance` from a camera that is hung for counting.

It hangs near the door and looks steeply down, so that people who follow each other hide each other's feet
less than before a camera that looks along the floor.
"""

from __future__ import annotations

from dataclasses import replace

from hardware.virtual_camera.pinhole import PinholeCamera
from hardware.virtual_camera.scene import Scene
from hardware.virtual_camera.scenes import entrance


def scene() -> Scene:
    """The doorway."""
    return replace(entrance.scene(), name="doorway", camera=PinholeCamera((0.0, 3.0, 3.4), 180.0, 58.0, 90.0))
