"""Cost of a frame: ``python -m hardware.virtual_camera.benchmark`` prints a line for each scene and mode.

CPU time of one thread, the median of 60 frames of 640x480, beside what the same machine needs at the same
time to encode the picture as JPEG and reduce it to half (the reference); compare ratios, not milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np

from hardware.virtual_camera.scenes import SCENES
from hardware.virtual_camera.source import VirtualCamera, read_options


def measure(scene: str, effects: str, frames: int = 60) -> dict[str, float]:
    """Milliseconds of a frame and of the reference, their ratio, frames/s, and objects in the picture."""
    flicker = "5" if effects == "full" else "0"
    camera = VirtualCamera(read_options(scene, {"seed": "7", "effects": effects, "flicker": flicker}))
    shot = camera.shot(0)
    size = shot.image.shape[1] // 2, shot.image.shape[0] // 2

    def reference() -> None:
        cv2.imencode(".jpg", shot.image)
        cv2.resize(shot.image, size)

    costs, references, objects = [], [], []
    for frame in range(1, frames + 1):
        costs.append(_cpu_ms(lambda frame=frame: objects.append(len(camera.shot(frame).visible.ids))))
        references.append(_cpu_ms(reference))
    cost, bare = float(np.median(costs)), float(np.median(references))
    return {
        "frame_ms": cost,
        "reference_ms": bare,
        "ratio": cost / bare,
        "frames_per_s": 1000 / cost,
        "objects": float(np.mean(objects)),
    }


def _cpu_ms(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return 1000 * (time.process_time() - start)


def main() -> None:
    """Print the figures of all scenes."""
    cv2.setNumThreads(1)
    for scene in SCENES:
        for effects in ("full", "plain"):
            print(scene, effects, {name: round(value, 2) for name, value in measure(scene, effects).items()})


if __name__ == "__main__":
    main()
