"""Each bench measures the app beside something that does the same, in the same run, and prints the ratio.

What the ratios are is for the README, measured on a quiet machine; here they only have to be there and to be
the quotient of what was measured.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from apps.demo.world.processes import edgeloop
from common.app.spec import installed_apps

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SHORT_LOOP = ["--rounds", "1", "--window-s", "2", "--cpu-s", "0", "--checks", "0", "--no-adoption"]
SHORT_VISION = ["--rounds", "1", "--frames", "40", "--minutes", "0.05"]


def require_app_and_clip() -> None:
    """Skip where there is no retail app with a model, or no clip."""
    if not (Path(os.environ.get("EDGELOOP_DATA", "")) / "video/vtest.avi").is_file():
        pytest.skip("there is no clip: set EDGELOOP_DATA")
    if "retail" not in installed_apps():
        pytest.skip("the retail app is not installed")


@pytest.mark.parametrize(
    ("name", "options", "figures"),
    [
        ("ecg", ["--rounds", "1", "--seconds", "60"], {"ecg_speed", "ecg_detection_speed"}),
        (
            "vision",
            ["--rounds", "1", "--frames", "40", "--minutes", "0.05"],
            {"vision_fps", "vision_live_fps"},
        ),
        ("loop", SHORT_LOOP, {"loop_events_per_s", "loop_industrial_events_per_s"}),
    ],
)
def test_a_bench_prints_its_ratios(name: str, options: list[str], figures: set[str]) -> None:
    if name == "ecg":
        pytest.importorskip("neurokit2")
    if name == "vision":
        require_app_and_clip()
    ran = subprocess.run(edgeloop("bench", name, "--json", *options), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    print(ran.stdout)
    lines = [msgspec.json.decode(line) for line in ran.stdout.splitlines()]
    compared = {line["figure"]: line for line in lines if "against" in line}
    assert figures <= set(compared)
    for line in compared.values():
        assert line["ratio"] == pytest.approx(line["value"] / line["against_value"])
        assert line["value"] > 0
        assert line["unit"]
    if name == "ecg":
        memory = next(line for line in lines if line["figure"] == "ecg_stream_memory_mb")
        assert 0 < memory["value"] < 2.0
