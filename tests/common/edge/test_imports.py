"""Imports of a node: no library of the cloud or of training, within limits of time and memory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch", "ultralytics", "fastapi", "sqlmodel", "sqlalchemy", "sklearn", "scipy", "onnx", "pandas",
    "matplotlib", "rich", "uvicorn", "alembic",
)  # fmt: skip
USES_SCIPY = "apps.ecg.edge.app"
PROGRAM = """
import importlib, json, resource, sys, time
started = time.perf_counter()
for name in sys.argv[1:]:
    importlib.import_module(name)
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"loaded": sorted({m.partition(".")[0] for m in sys.modules}),
                  "seconds": time.perf_counter() - started, "rss_mb": rss}))
"""


@pytest.mark.parametrize(
    "modules",
    [
        ["common.edge.node"],
        ["apps.ecg.app", USES_SCIPY, "apps.ecg.virtual.patient"],
        ["apps.industrial.app", "apps.industrial.edge.app", "apps.industrial.virtual.turbofan"],
        ["apps.retail.app", "apps.retail.edge.app", "apps.retail.virtual.cameras"],
        ["common.vision.detector", "common.vision.tracker", "common.vision.scene"],
        ["hardware.sensors.csv", "hardware.sensors.replay", "hardware.profiles.cpu"],
    ],
)
def test_a_node_loads_no_library_of_the_cloud_or_of_training(modules: list[str]) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, *modules], capture_output=True, text=True, check=True
    )
    found = json.loads(answer.stdout)
    print(f"{' '.join(modules)}: {found['seconds']:.2f} s, {found['rss_mb']:.0f} MB")
    heavy = set(HEAVY) - ({"scipy"} if USES_SCIPY in modules else set())
    assert not set(found["loaded"]) & heavy
