"""The scenes: places with a camera, furniture, lines, zones and people's ways."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from hardware.virtual_camera.scene import Scene

SCENES = ("entrance", "aisle", "crowd", "queue", "doorway", "road")


@cache
def load_scene(name: str) -> Scene:
    """The scene called ``name``, one of `SCENES`; the same object each time."""
    return import_module(f"{__name__}.{name}").scene()
