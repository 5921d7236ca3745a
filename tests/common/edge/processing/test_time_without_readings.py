"""Time without readings: an app that decides on silence does so, and what it decided is kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.app.edge import EdgeContext, Reading
from common.bundle import open_bundle
from common.edge.processing import processing
from common.edge.processing.progress import Progress
from common.messages import Event, Priority
from common.model.inference import load_model
from common.model.profile import find_profile
from tests.builders import FIRST_NS, make_app
from tests.restarts import Decider


class Watching:
    """Reports the first silence after a reading."""

    def __init__(self, context: EdgeContext) -> None:
        self.silent = True

    def process(self, reading: Reading, now_ns: int) -> list[Event]:
        self.silent = False
        return []

    def pass_time(self, now_ns: int) -> Iterable[Event]:
        if not self.silent:
            self.silent = True
            yield Event("sums.silent", "door", now_ns, Priority.EVENT, {})

    def snapshot(self) -> dict[str, Any]:
        return {"silent": self.silent}

    def restore(self, state: Any) -> None:
        self.silent = state["silent"]


def decider(folder: Path, spec: Any) -> Decider:
    model = load_model(open_bundle(spec.starter), find_profile("cpu"))
    return Decider(folder, spec, model)


def test_silence_is_decided_on_once_and_the_state_survives_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processing, "IDLE_S", 0.0)
    spec = replace(make_app(tmp_path / "starter"), edge=f"{__name__}:Watching")
    node = decider(tmp_path, spec)
    node.decide([Reading("door", FIRST_NS, 1, np.zeros(2, np.float32))])
    node.commit()
    assert node.outbox.events == 1
    node.crash()
    again = decider(tmp_path, spec)
    again.commit()
    assert again.outbox.events == 1


def test_a_frame_is_never_written_however_large_the_state_is() -> None:
    progress = Progress(checkpoint_interval_s=1e9)
    progress.committed(progress.write(0.0, lambda: b""), 0.0)
    progress.demand()
    progress.add(Reading("door", 0, 0, np.zeros(1)), 0, 0.0)
    progress.committed(progress.write(0.0, lambda: bytes(10**7)), 0.0)
    progress.add(Reading("door", 1, 1, np.zeros(2)), 1, 0.0)
    progress.add(Reading("door", 2, 2, np.zeros((8, 8, 3), np.uint8)), 2, 0.0)
    written = progress.write(1.0, lambda: b"state")
    assert (written.state, written.journal) == (b"state", None)
