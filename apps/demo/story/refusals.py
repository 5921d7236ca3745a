"""Bad models on the stage: some that should not run, and who stops each of them.

``wrong`` gives other outputs than its golden cases promise: the registry refuses it.
``heavy`` is too slow for the device: the canary's own golden cases refuse it.
``late``  passes every golden case and fails near the end of an engine's life: the canary's health
          reverts it, and the rollout halts before the second wave.
``nan``   the same with a failure of about every other fresh input.
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
    "heavy": "the canary's golden cases refuse a slow model",
    "late": "the canary takes back what fails live",
    "nan": "the canary takes back what fails live",
}
"""Faults of a model, and what becomes of each."""
LONG_SOAK_S = 12.0
"""Soak of ``late``: long enough that an engine comes to the end of its life."""
WORDS = {2: "two", 3: "three"}


@dataclass(slots=True)
class Refusals:
    """The chapter of the bad models; each act can be played again, with a version of its own."""

    stage: Stage
    faults: Sequence[str]
    """Which of `BAD_MODELS` there are in this show."""
    prepare_late: Callable[[], str] = lambda: ""
    """Brings about what ``late`` fails in; tells what was done."""
    production: str = ""
    made: set[str] = field(default_factory=set)
    """Versions that were handed in."""

    def chapter(self) -> Chapter:
        return Chapter(
            "Bad models",
            f"Someone hands in {WORDS[len(self.faults)]} models that should not run, and approves by hand "
            "what can be approved.",
            [
                *(self.step(fault) for fault in self.faults),
                self.aftermath(),
            ],
        )

    def chapter_of(self, fault: str) -> Chapter:
        """One of `BAD_MODELS` by itself."""
        return Chapter(
            f"A bad model: {fault}",
            "Someone hands in a model that should not run.",
            [self.step(fault), self.aftermath()],
        )

    def step(self, fault: str) -> Step:
        """The step of one of `BAD_MODELS`."""
        title = BAD_MODELS[fault]
        if fault == "wrong":
            return Step(title, self.refuse_wrong, ("gate",), "/ui/models")
        if fault == "heavy":
            return Step(title, self.refuse_heavy, ("adopt",), "/ui/rollouts")
        return Step(title, partial(self.revert_live, fault), ("adopt", "roll out"), "/ui/rollouts")

    def aftermath(self) -> Step:
        return Step("the fleet runs what it ran before", self.unharmed, ("infer",))

    def refuse_wrong(self) -> str:
        bad = self._spoil("wrong")
        self.stage.client.send_bundle(self.stage.app, bad)
        try:
            self.stage.client.post(self.stage.app_path("models"), {"version": bad.version})
        except CloudError as error:
            if not 400 <= error.status < 500:
                raise
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

    def revert_live(self, fault: str) -> str:
        before = self.prepare_late() if fault == "late" else ""
        version = self._hand_in(fault)
        rollout = self._roll_out(version, soak_s=LONG_SOAK_S if fault == "late" else None)
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
            f"{before}{canary}: {path}\n{_told(stopped[0])}\n"
            f"rollout {rollout['state']} in wave {rollout['wave'] + 1} of {len(rollout['waves'])}, "
            f"with no person: {rollout['reason']}"
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
        times = sum(version.startswith(f"{self.production}-{fault}") for version in self.made)
        version = f"{self.production}-{fault}" + (f"-{times + 1}" if times else "")
        self.made.add(version)
        return spoil(good, fault, version, self.stage.folder / "bad" / version)

    def _hand_in(self, fault: str) -> str:
        bad = self._spoil(fault)
        self.stage.client.send_bundle(self.stage.app, bad)
        self.stage.client.post(self.stage.app_path("models"), {"version": bad.version})
        self.stage.client.post(
            self.stage.app_path(f"models/{bad.version}/promote"),
            {"by": "a careless person", "reason": "it looked well"},
        )
        return bad.version

    def _roll_out(self, version: str, soak_s: float | None = None) -> dict[str, Any]:
        """Start a rollout and wait until it has stopped by itself."""
        asked = {"version": version, "waves": list(WAVES), "soak_s": soak_s}
        id = self.stage.client.post(self.stage.app_path("rollouts"), asked)["id"]

        def ended() -> dict[str, Any] | None:
            rollout = self.stage.ask(self.stage.app_path(f"rollouts/{id}"))
            return rollout if rollout["state"] != "running" else None

        try:
            rollout = self.stage.wait(ended, f"the rollout of {version} stops")
        except EdgeloopError:
            self._revert(id)
            raise
        if rollout["state"] == "done":
            self._revert(id)
            raise ShowError(f"the rollout of {version} went through")
        return rollout

    def _revert(self, rollout: str) -> None:
        """Clear up after an act that did not happen; the act's own error is what is told."""
        with suppress(EdgeloopError):
            path = self.stage.app_path(f"rollouts/{rollout}/revert")
            self.stage.client.post(path, {"reason": "the show clears up"})

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
