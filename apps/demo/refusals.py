"""Bad models on the stage: three that should not run, and who stops each of them.

``wrong`` gives other outputs than its golden cases promise: the registry refuses it.
``heavy`` is too slow for the device: the canary's own golden cases refuse it.
``late``  passes every golden case and fails near the end of an engine's life: the canary's health
          reverts it, and the rollout halts before the second wave.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from apps.demo.bad_models import spoil
from apps.demo.learning import WAVE_TIMEOUT_S, WAVES
from apps.demo.processes import ShowError
from apps.demo.stage import Stage
from apps.demo.story import Chapter, Step
from common.bundle import Bundle, open_bundle

LONG_SOAK_S = 12.0
"""Soak of the last bad model: long enough that an engine comes to the end of its life."""


@dataclass(slots=True)
class Refusals:
    """The last chapter's steps."""

    stage: Stage
    production: str = ""
    bad: dict[str, str] = field(default_factory=dict)

    def chapter(self) -> Chapter:
        return Chapter(
            "Bad models",
            "Someone hands in three models that should not run, and approves by hand what can be approved.",
            [
                Step("the registry refuses wrong outputs", self.refuse_wrong, ("gate",)),
                Step("the canary's golden cases refuse a slow model", self.refuse_heavy, ("adopt",)),
                Step("the canary takes back what fails live", self.revert_late, ("adopt", "roll out")),
                Step("the fleet runs what it ran before", self.unharmed, ("infer",)),
            ],
        )

    def refuse_wrong(self) -> str:
        self.production = self.stage.ask("/v1/status")["apps"][self.stage.app]["production"]
        bad = self._spoil("wrong")
        self.stage.client.send_bundle(self.stage.app, bad)
        try:
            self.stage.client.post(self.stage.app_path("models"), {"version": bad.version})
        except ShowError as error:
            return f"{bad.version} is not in the registry: {error}"
        raise ShowError(f"the registry took {bad.version}, whose golden cases it does not pass")

    def refuse_heavy(self) -> str:
        version = self._hand_in("heavy")
        rollout = self._roll_out(version)
        reports = self._reports(version)
        refused = [r for r in reports if r["step"] == "refused"]
        if not refused:
            raise ShowError(f"{version} was not refused on a node: {reports}")
        return f"{_told(refused[0])}\nrollout {rollout['state']}: {rollout['reason']}"

    def revert_late(self) -> str:
        version = self._hand_in("late")
        rollout = self._roll_out(version, soak_s=LONG_SOAK_S)
        reports = self._reports(version)
        stopped = [r for r in reports if r["step"] in ("reverted", "refused")]
        if not stopped:
            raise ShowError(f"{version} was not taken back on a node: {reports}")
        reached = {report["node"] for report in reports}
        if len(reached) == len(self.stage.nodes):
            raise ShowError(f"{version} came to every node")
        canary = stopped[0]["node"]
        path = " → ".join(dict.fromkeys(r["step"] for r in reports if r["node"] == canary))
        return (
            f"{canary}: {path}\n{_told(stopped[0])}\n"
            f"rollout {rollout['state']} in wave {rollout['wave'] + 1} of {len(rollout['waves'])}, "
            f"with no person: {rollout['reason']}"
        )

    def unharmed(self) -> str:
        def all_back() -> bool:
            nodes = [self.stage.node(node.name) for node in self.stage.nodes]
            return all(node["version"] == self.production and node["confirmed"] for node in nodes)

        self.stage.wait(all_back, f"every node runs {self.production}", 30.0)
        return f"all {len(self.stage.nodes)} nodes run {self.production}, confirmed"

    def _spoil(self, fault: str) -> Bundle:
        registry = self.stage.cloud.folder / "models" / self.stage.app
        good = open_bundle(registry / self.production, app=self.stage.app)
        version = f"{self.production}-{fault}"
        return spoil(good, fault, version, self.stage.folder / "bad" / version)

    def _hand_in(self, fault: str) -> str:
        bad = self._spoil(fault)
        self.stage.client.send_bundle(self.stage.app, bad)
        self.stage.client.post(self.stage.app_path("models"), {"version": bad.version})
        self.stage.client.post(
            self.stage.app_path(f"models/{bad.version}/promote"), {"by": "a careless person"}
        )
        return bad.version

    def _roll_out(self, version: str, soak_s: float | None = None) -> dict[str, Any]:
        """Start a rollout and wait until it has stopped by itself."""
        asked = {"version": version, "waves": list(WAVES), "soak_s": soak_s}
        id = self.stage.client.post(self.stage.app_path("rollouts"), asked)["id"]

        def ended() -> dict[str, Any] | None:
            rollout = self.stage.ask(self.stage.app_path(f"rollouts/{id}"))
            return rollout if rollout["state"] != "running" else None

        rollout = self.stage.wait(ended, f"the rollout of {version} stops", WAVE_TIMEOUT_S)
        if rollout["state"] == "done":
            raise ShowError(f"the rollout of {version} went through")
        return rollout

    def _reports(self, version: str) -> list[dict[str, Any]]:
        """What nodes told about adopting a version, in each node's order."""
        return [
            {"node": node.name} | event["data"]
            for node in self.stage.nodes
            for event in self.stage.events(node.name, type="edgeloop.adoption")
            if event["data"]["version"] == version
        ]


def _told(report: dict[str, Any]) -> str:
    detail = report.get("detail", "")
    return f"{report['node']} says: {report['step']} ({report['reason']}) {detail}".rstrip()
