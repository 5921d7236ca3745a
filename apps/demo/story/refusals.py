"""Bad models on the stage, each stopped by another safeguard.

``wrong`` outputs differ from its golden cases: the registry refuses it.
``heavy`` too slow for the device: the canary refuses it after its golden cases.
``late``  passes every golden case and fails near the end of an engine's life: the canary's health check
          reverts it, and the rollout halts before the second wave.
``nan``   the same, with a failure on about every other fresh input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from apps.demo.story.bad_models import spoil
from apps.demo.story.learning import WAVES
from apps.demo.story.story import Chapter, Step
from apps.demo.world.processes import ShowError
from apps.demo.world.stage import Stage
from common.bundle import Bundle
from common.errors import CloudError, EdgeloopError

BAD_MODELS = {
    "wrong": "the registry refuses wrong outputs",
    "heavy": "the canary refuses a slow model",
    "late": "the canary reverts a model that fails live",
    "nan": "the canary reverts a model that fails live",
}
"""Titles of the steps, by fault of the model."""
LONG_SOAK_S = 12.0
"""Soak of ``late``: long enough for an engine to reach the end of its life."""
NUMBER_WORDS = {2: "two", 3: "three"}


@dataclass(slots=True)
class Refusals:
    """Chapter of the bad models; each repetition uses a version of its own."""

    stage: Stage
    faults: Sequence[str]
    """Those of `BAD_MODELS` in this show."""
    prepare_late: Callable[[], str] = lambda: ""
    """Creates the conditions in which ``late`` fails; returns its evidence."""
    production: str = ""
    versions: set[str] = field(default_factory=set)
    """Versions created so far."""

    def chapter(self) -> Chapter:
        return Chapter(
            "Bad models",
            f"{NUMBER_WORDS[len(self.faults)].capitalize()} models that should not run are submitted, and "
            "approved by a person where the registry accepts them.",
            [
                *(self.step(fault) for fault in self.faults),
                self.aftermath(),
            ],
        )

    def chapter_of(self, fault: str) -> Chapter:
        """Chapter with one of `BAD_MODELS`."""
        return Chapter(
            f"A bad model: {fault}",
            "A model that should not run is submitted, and approved by a person.",
            [self.step(fault), self.aftermath()],
        )

    def step(self, fault: str) -> Step:
        """Step of one of `BAD_MODELS`."""
        title = BAD_MODELS[fault]
        if fault == "wrong":
            return Step(title, self.refuse_wrong, ("gate",), "/ui/models")
        if fault == "heavy":
            return Step(title, self.refuse_heavy, ("adopt",), "/ui/rollouts")
        return Step(title, partial(self.revert_live, fault), ("adopt", "roll out"), "/ui/rollouts")

    def aftermath(self) -> Step:
        return Step("the fleet runs the production model", self.unharmed, ("infer",))

    def refuse_wrong(self) -> str:
        bad = self._spoil("wrong")
        self.stage.client.send_bundle(self.stage.app, bad)
        try:
            self.stage.client.post(self.stage.app_path("models"), {"version": bad.version})
        except CloudError as error:
            if not 400 <= error.status < 500:
                raise
            return f"{bad.version} was refused by the registry: {error}"
        raise ShowError(f"the registry accepted {bad.version}, which fails its golden cases")

    def refuse_heavy(self) -> str:
        version = self._submit("heavy")
        rollout = self._roll_out(version)
        reports = self._reports(version)
        refused = [r for r in reports if r["step"] == "refused"]
        if not refused:
            raise ShowError(f"{version} was not refused on a node: {reports}")
        return f"{_report_text(refused[0])}\nrollout {rollout['state']}: {rollout['reason']}"

    def revert_live(self, fault: str) -> str:
        before = self.prepare_late() if fault == "late" else ""
        version = self._submit(fault)
        rollout = self._roll_out(version, soak_s=LONG_SOAK_S if fault == "late" else None)
        reports = self._reports(version)
        stopped = [r for r in reports if r["step"] in ("reverted", "refused")]
        if not stopped:
            raise ShowError(f"{version} was not reverted on a node: {reports}")
        reached = {report["node"] for report in reports}
        if len(reached) == len(self.stage.nodes):
            raise ShowError(f"{version} reached every node")
        canary = stopped[0]["node"]
        path = " → ".join(dict.fromkeys(r["step"] for r in reports if r["node"] == canary))
        return (
            f"{before}{canary}: {path}\n{_report_text(stopped[0])}\n"
            f"rollout {rollout['state']} in wave {rollout['wave'] + 1} of {len(rollout['waves'])}, "
            f"automatically: {rollout['reason']}"
        )

    def unharmed(self) -> str:
        self.stage.ready()
        self.production = self.stage.production()

        def all_back() -> bool:
            nodes = [self.stage.node(node.name) for node in self.stage.nodes]
            return all(node["version"] == self.production and node["confirmed"] for node in nodes)

        self.stage.wait(all_back, f"every node runs {self.production}")
        return f"all {len(self.stage.nodes)} nodes run {self.production}, confirmed"

    def _spoil(self, fault: str) -> Bundle:
        self.stage.ready()
        self.production = self.stage.production()
        good = self.stage.bundle(self.production)
        previous = sum(version.startswith(f"{self.production}-{fault}") for version in self.versions)
        version = f"{self.production}-{fault}" + (f"-{previous + 1}" if previous else "")
        self.versions.add(version)
        return spoil(good, fault, version, self.stage.folder / "bad" / version)

    def _submit(self, fault: str) -> str:
        bad = self._spoil(fault)
        self.stage.client.send_bundle(self.stage.app, bad)
        self.stage.client.post(self.stage.app_path("models"), {"version": bad.version})
        self.stage.client.post(
            self.stage.app_path(f"models/{bad.version}/promote"),
            {"by": "a careless person", "reason": "approved without a review"},
        )
        return bad.version

    def _roll_out(self, version: str, soak_s: float | None = None) -> dict[str, Any]:
        """Start a rollout and wait until it halts or is reverted."""
        body = {"version": version, "waves": list(WAVES), "soak_s": soak_s}
        id = self.stage.client.post(self.stage.app_path("rollouts"), body)["id"]

        def ended() -> dict[str, Any] | None:
            rollout = self.stage.get(self.stage.app_path(f"rollouts/{id}"))
            return rollout if rollout["state"] != "running" else None

        try:
            rollout = self.stage.wait(ended, f"the rollout of {version} stops")
        except EdgeloopError:
            self._revert(id)
            raise
        if rollout["state"] == "done":
            self._revert(id)
            raise ShowError(f"the rollout of {version} was completed")
        return rollout

    def _revert(self, rollout: str) -> None:
        """Revert after a failed step; the step's own error is reported."""
        with suppress(EdgeloopError):
            path = self.stage.app_path(f"rollouts/{rollout}/revert")
            self.stage.client.post(path, {"reason": "cleanup of the show"})

    def _reports(self, version: str) -> list[dict[str, Any]]:
        """Adoption events of a version, in order for each node."""
        return [
            {"node": node.name} | event["data"]
            for node in self.stage.nodes
            for event in self.stage.events(node.name, type="edgeloop.adoption")
            if event["data"]["version"] == version
        ]


def _report_text(report: dict[str, Any]) -> str:
    detail = report.get("detail", "")
    return f"{report['node']} reports: {report['step']} ({report['reason']}) {detail}".rstrip()
