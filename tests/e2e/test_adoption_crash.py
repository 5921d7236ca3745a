"""A node that is killed with SIGKILL at any step of adopting a model starts with one whole model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.updates import UpdateSite
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.e2e]
CHILD = Path(__file__).with_name("adoption_child.py")
REPOSITORY = Path(__file__).parents[2]


def deaths(tmp_path: Path, kind: str) -> list[dict[str, Any]]:
    """Every death of an adoption, and what the restart after it found."""
    site = UpdateSite(tmp_path / "cloud")
    try:
        traits: dict[str, Any] = {"sour": 2.0, "gain": 1.0} if kind == "bad" else {}
        site.publish("v2", bundle=site.bundle("v2", **traits), soak_s=15.0)
        (tmp_path / "nodes").mkdir()
        root = json.dumps(site.repository.root())
        words = [sys.executable, str(CHILD), str(tmp_path / "nodes"), site.server.url, root]
        ended = subprocess.run(
            [*words, str(site.starter.path), kind],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    finally:
        site.server.close()
    assert ended.returncode == 0, ended.stderr
    *crashes, last = [json.loads(line) for line in ended.stdout.splitlines()]
    assert last["operations"] == len(crashes) - 1
    print(f"{kind}: killed before each of {last['operations']} file operations")
    return crashes


@pytest.mark.parametrize(("kind", "last"), [("good", "v2"), ("bad", "starter-1")])
def test_a_node_killed_before_any_file_operation_starts_whole(tmp_path, kind, last):
    crashes = deaths(tmp_path, kind)
    assert len(crashes) > 30
    assert all(each["signal"] == signal.SIGKILL for each in crashes[:-1])
    found = [each["found"] for each in crashes]
    assert all(found), [each for each in crashes if not each["found"]]
    assert {each["first"] for each in found} == {"starter-1", "v2"}
    for each in found:
        assert each["answering"] == each["first"]
        assert (each["last"], each["step"]) == (last, "confirmed")
    assert any(each["left"] for each in crashes), "no death in the middle of a file"
