"""Second half of the loop, the same in every show: a training job, the gate, a rollout in two waves.

Each public method without an argument is the act of one step of a story: it returns its evidence
or raises `ShowError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from apps.demo.story.story import Chapter, Step
from apps.demo.world.processes import ShowError
from apps.demo.world.stage import Stage

WAVES = (0.34, 1.0)


@dataclass(slots=True)
class ModelUpdate:
    """One model update: training in the cloud, the gate's verdict, and the rollout to the nodes."""

    stage: Stage
    job: str = ""
    version: str = ""
    rollout_id: str = ""

    def reset(self) -> None:
        """Discard the job, its model and the rollout."""
        self.job = self.version = self.rollout_id = ""

    def training_chapter(self, text: str, train: Callable[[], str], ordinal: str = "") -> Chapter:
        """``train`` is the act of the training step, and calls `train`; ``ordinal`` ends the title."""
        return Chapter(
            f"The cloud learns{ordinal}",
            text,
            [
                Step("a training job runs", train, ("learn",), "/ui/learning"),
                Step("the gate evaluates the candidate", self.check_gate, ("gate",)),
            ],
        )

    def rollout_chapter(self, compare: Step, ordinal: str = "") -> Chapter:
        """Ends with ``compare``, the step that compares both models."""
        return Chapter(
            f"Rollout in two waves{ordinal}",
            "One signed document assigns a version to each share of the fleet. Each node determines its "
            "wave, runs the model in shadow, switches, and soaks it.",
            [
                Step("a rollout in two waves starts", self.roll_out, ("roll out",), "/ui/rollouts"),
                Step("the first wave adopts the model", self.first_wave, ("adopt",)),
                Step("the second wave adopts the model", self.second_wave, ("adopt",)),
                compare,
            ],
        )

    def train(self, parameters: Mapping[str, Any] | None = None) -> str:
        self.stage.ready()
        body = {"parameters": dict(parameters or {}), "seed": 1}
        answer = self.stage.client.post(self.stage.app_path("jobs"), body)
        self.job = answer["id"]
        messages: list[str] = []

        def ended() -> dict[str, Any] | None:
            job = self._job()
            text = f"{job['progress']:.0%} {job['message']}".strip()
            if job["state"] == "running" and (not messages or messages[-1] != text):
                messages.append(text)
            return job if job["state"] not in ("queued", "running") else None

        job = self.stage.wait(ended, "the training job ends")
        if job["state"] != "done":
            reasons = "; ".join(job["gate"].get("reasons", [])) or job["message"]
            raise ShowError(f"the job ended as {job['state']}: {reasons}")
        self.version = job["version"]
        seconds = (job["ended_ns"] - job["started_ns"]) / 1e9
        steps = " | ".join(messages[:: max(1, len(messages) // 4)])
        return f"version {self.version} from {job['parent']} in {seconds:.1f} s\nprogress: {steps}"

    def check_gate(self) -> str:
        if not self.job:
            raise ShowError("no training job to evaluate: start learning first")
        gate = self._job()["gate"]
        if not gate.get("passed"):
            raise ShowError(f"the gate refused {self.version}: {'; '.join(gate.get('reasons', []))}")
        rows = [(gate["figure"], gate["candidate"], gate["production"], True)]
        rows += [
            (each["name"], each["candidate"], each["production"], each["passed"]) for each in gate["slices"]
        ]
        width = max(len(name) for name, *_ in rows)
        table = [f"{'':{width}s} {'candidate':>10s} {'production':>10s}"]
        table += [
            f"{name:{width}s} {_number(candidate)} {_number(production)} {'passed' if passed else 'WORSE'}"
            for name, candidate, production, passed in rows
        ]
        return f"passed, better by {gate['gain']:.1%}\n" + "\n".join(table)

    def roll_out(self) -> str:
        self.stage.ready()
        self.version = self._approved()
        answer = self.stage.client.post(
            self.stage.app_path("rollouts"), {"version": self.version, "waves": list(WAVES)}
        )
        self.rollout_id = answer["id"]
        shares = " then ".join(f"{share:.0%}" for share in WAVES)
        return f"rollout {self.rollout_id} of {self.version}: {shares} of the fleet"

    def first_wave(self) -> str:
        def advanced() -> list[str]:
            rollout = self._rollout()
            return self._confirmed() if rollout["wave"] >= 1 or rollout["state"] == "done" else []

        names = self.stage.wait(advanced, "the first wave is confirmed")
        return (
            f"{', '.join(names)} confirmed; the other nodes still run the old model\n{self._steps(names[0])}"
        )

    def second_wave(self) -> str:
        def done() -> bool:
            return self._rollout()["state"] == "done" and len(self._confirmed()) == len(self.stage.nodes)

        self.stage.wait(done, "every node is confirmed")
        return "\n".join(f"{node.name}: {self._steps(node.name)}" for node in self.stage.nodes)

    def _approved(self) -> str:
        """The version to roll out: the one trained here, else the newest approved one."""
        models = self.stage.get(self.stage.app_path("models"), limit=100)["items"]
        waiting = [model["version"] for model in models if model["state"] == "approved"]
        if not waiting:
            raise ShowError("no approved model to roll out: start learning first")
        return self.version if self.version in waiting else waiting[0]

    def _job(self) -> dict[str, Any]:
        return self.stage.get(self.stage.app_path(f"jobs/{self.job}"))

    def _rollout(self) -> dict[str, Any]:
        if not self.rollout_id:
            raise ShowError("no rollout to follow: start one first")
        rollout = self.stage.get(self.stage.app_path(f"rollouts/{self.rollout_id}"))
        if rollout["state"] in ("halted", "reverted"):
            raise ShowError(f"rollout {self.rollout_id} ended as {rollout['state']}: {rollout['reason']}")
        return rollout

    def _confirmed(self) -> list[str]:
        nodes = [self.stage.node(node.name) for node in self.stage.nodes]
        return [node["node"] for node in nodes if node["version"] == self.version and node["confirmed"]]

    def _steps(self, node: str) -> str:
        """Adoption steps that a node has reported for this version."""
        events = self.stage.events(node, type="edgeloop.adoption")
        steps = [event["data"]["step"] for event in events if event["data"]["version"] == self.version]
        return " → ".join(dict.fromkeys(steps))


def _number(value: float | None) -> str:
    return f"{'-':>10s}" if value is None else f"{value:10.2f}"
