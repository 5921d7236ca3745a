"""A model that passes its golden cases and degrades live is reverted on the canary automatically.

The bad bundles are the app's starter with an edited ONNX graph: correct on the golden inputs; on fresh
readings NaN, many times slower, or wrong. Without a shadow phase the live health check must detect it; with a
shadow, the shadow must detect it before the switch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from apps.demo.story.bad_models import spoil
from apps.demo.world.processes import Children, wait_until
from apps.demo.world.world import CloudSite, EdgeNode
from common.app.spec import find_app
from common.bundle import open_bundle
from common.cloud_client import CloudClient
from tests.e2e.conftest import FAST_CLOUD, FAST_NODE
from tests.waiting import PATIENCE_S

NODES = 3
SPEED = "50"
APP = "industrial"
REASONS = {"nan": {"failures"}, "slow": {"latency"}, "stale": {"stuck", "disagreement"}}
"""Accepted reasons of the canary, by fault."""

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


class Fleet:
    """A cloud and three nodes with virtual engines, and rollouts of bad models to them."""

    def __init__(self, folder: Path, broker: str, shadow_readings: int) -> None:
        self._folder = folder
        self._closing = ExitStack()
        children = self._closing.enter_context(Children(folder / "logs"))
        self.cloud = CloudSite(
            children, folder / "cloud", settings={**FAST_CLOUD, "mqtt": {"broker": broker}}
        )
        settings = {**FAST_NODE, "ota": {"poll_interval_s": 1.0, "shadow_readings": shadow_readings}}
        names = [f"engine-{number}" for number in range(NODES)]
        self.nodes = [EdgeNode(children, folder / name, name, app=APP, settings=settings) for name in names]

    def __enter__(self) -> Fleet:
        self.cloud.start()
        self.client: CloudClient = self._closing.enter_context(self.cloud.client())
        for number, node in enumerate(self.nodes):
            self._closing.callback(node.close)
            node.enrol(self.cloud, "plant")
            node.start(f"virtual:turbofan?seed={number}&name={node.name}", "--speed", SPEED)
        starter = open_bundle(find_app(APP).starter).version
        wait_until(
            lambda: self.versions() == [starter] * NODES, what="the starter runs", timeout_s=PATIENCE_S
        )
        self.starter = starter
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def versions(self) -> list[str]:
        return [
            self.client.get(f"/v1/nodes/{node.name}")["version"] for node in self.nodes if self._known(node)
        ]

    def _known(self, node: EdgeNode) -> bool:
        return any(each["node"] == node.name for each in self.client.items("/v1/nodes"))

    def roll_out(self, fault: str, version: str) -> dict[str, Any]:
        """Submit a bad model, approve it, roll it out in two waves; returns the ended rollout."""
        bad = spoil(open_bundle(find_app(APP).starter), fault, version, self._folder / version)
        self.client.send_bundle(APP, bad)
        self.client.post(f"/v1/apps/{APP}/models", {"version": version})
        self.client.post(f"/v1/apps/{APP}/models/{version}/promote", {"by": "a test", "reason": "a test"})
        body = {"version": version, "waves": [0.34, 1.0], "soak_s": 8.0}
        id = self.client.post(f"/v1/apps/{APP}/rollouts", body)["id"]

        def ended() -> dict[str, Any] | None:
            rollout = self.client.get(f"/v1/apps/{APP}/rollouts/{id}")
            return rollout if rollout["state"] != "running" else None

        return wait_until(ended, what=f"the rollout of {version} ends", timeout_s=PATIENCE_S)

    def steps(self, version: str) -> dict[str, list[dict[str, Any]]]:
        """Adoption reports about ``version``, in order, by node."""
        found: dict[str, list[dict[str, Any]]] = {}
        for node in self.nodes:
            for event in self.client.pages(f"/v1/nodes/{node.name}/events", type="edgeloop.adoption"):
                if event["data"]["version"] == version:
                    found.setdefault(node.name, []).append(event["data"])
        return found


def fleet_of(broker: str, tmp_path_factory: pytest.TempPathFactory, shadow_readings: int) -> Iterator[Fleet]:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    if broker == "mosquitto" and shutil.which("mosquitto", path=path) is None:
        pytest.skip("Mosquitto is not installed (apt-get install mosquitto)")
    with Fleet(tmp_path_factory.mktemp("fleet"), broker, shadow_readings) as fleet:
        yield fleet


@pytest.fixture(scope="module", params=["iotcore", "mosquitto"])
def fleet(request, tmp_path_factory) -> Iterator[Fleet]:
    """Nodes without a shadow phase: only the soak can detect a bad model."""
    yield from fleet_of(request.param, tmp_path_factory, 0)


@pytest.fixture(scope="module")
def careful_fleet(tmp_path_factory) -> Iterator[Fleet]:
    """Nodes with a shadow phase."""
    yield from fleet_of("iotcore", tmp_path_factory, 30)


@pytest.mark.parametrize("fault", ["nan", "slow", "stale"])
def test_a_model_that_degrades_live_is_reverted_on_the_canary(fleet: Fleet, fault: str):
    version = f"bad-{fault}"
    rollout = fleet.roll_out(fault, version)
    steps = fleet.steps(version)
    print(f"{fault}: {rollout['state']} in wave {rollout['wave'] + 1}: {rollout['reason']}")
    for name, reports in steps.items():
        print(f"  {name}: {[report['step'] for report in reports]} {reports[-1]['reason']}")
    assert rollout["state"] == "reverted"
    assert rollout["wave"] == 0
    assert 1 <= len(steps) < NODES
    for reports in steps.values():
        steps_reported = [report["step"] for report in reports]
        assert "golden" in steps_reported
        assert "switched" in steps_reported
        assert "confirmed" not in steps_reported
    reverted = [each for reports in steps.values() for each in reports if each["step"] == "reverted"]
    assert reverted
    assert {each["reason"] for each in reverted} <= REASONS[fault]
    wait_until(
        lambda: fleet.versions() == [fleet.starter] * NODES, what="all run the starter", timeout_s=PATIENCE_S
    )


@pytest.mark.parametrize("fault", ["nan", "slow"])  # ``stale`` is correct on a young engine.
def test_a_shadow_detects_a_bad_model_before_the_switch(careful_fleet: Fleet, fault: str):
    version = f"bad-{fault}"
    rollout = careful_fleet.roll_out(fault, version)
    assert rollout["state"] == "reverted"
    assert rollout["wave"] == 0
    steps_reported = [
        report["step"] for reports in careful_fleet.steps(version).values() for report in reports
    ]
    assert "refused" in steps_reported
    assert "switched" not in steps_reported
