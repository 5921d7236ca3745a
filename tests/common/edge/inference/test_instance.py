"""An app under a model: failures are logged in full once for each kind."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.app.edge import Reading
from common.bundle import open_bundle
from common.edge.inference.instance import Instance
from tests.builders import FIRST_NS, make_bundle


class Failing:
    """An app that fails in one of two ways."""

    def process(self, reading: Reading, now_ns: int) -> list[Any]:
        if reading.position % 2:
            raise KeyError("torque")
        return [reading.values[1]]

    def snapshot(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Any) -> None: ...


class Idle:
    on_run: Any = None

    def __init__(self, manifest: Any) -> None:
        self.manifest = manifest

    def run(self, inputs: Any) -> Any:
        return inputs


def test_the_first_exception_of_each_kind_is_logged_with_its_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = open_bundle(make_bundle(tmp_path / "bundle").path)
    instance = Instance(bundle, Failing(), Idle(bundle.manifest))
    with caplog.at_level(logging.WARNING, logger="common.edge.inference.instance"):
        for position in range(6):
            reading = Reading("machine-1", FIRST_NS, position, np.zeros(1, np.float32))
            results, outcome = instance.run(reading, FIRST_NS)
            assert results == []
            assert outcome.error
    kinds = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert kinds == [IndexError, KeyError]
    assert "test_instance.py" in caplog.text
