"""One turn of the loop on the stage: a new fault, drift, samples, work orders, training, rollout, and after.

`Turn` is one round with one fault mode; the show plays two of them, because loops tend to turn only once.
Each public method is the act of one step of the story: it returns its evidence or raises `ShowError`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from apps.demo.processes import ShowError
from apps.demo.stage import Stage, Truth
from apps.demo.story import Chapter, Step

WAVES = (0.34, 1.0)
DRIFT_TIMEOUT_S = 40.0
SAMPLES_TIMEOUT_S = 45.0
JOB_TIMEOUT_S = 120.0
WAVE_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Plant:
    """The plant's maintenance, which the show plays: it knows what became of each run, and files it."""

    stage: Stage
    filed: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    """Outcomes by machine and run, as the cloud answered the work orders."""

    def truths(self) -> list[Truth]:
        """Every run that has ended, of all machines."""
        return [truth for node in self.stage.nodes for truth in self.stage.truths(node)]

    def file(self, truth: Truth) -> dict[str, Any]:
        """Close the work order of a run that ended; at most once for each run."""
        key = (truth.machine, truth.run)
        if key not in self.filed:
            order = {
                "machine": truth.machine,
                "run": truth.run,
                "kind": "failure",
                "cycle": truth.cycle,
                "note": truth.fault,
            }
            self.filed[key] = self.stage.client.post(self.stage.app_path("work-orders"), order)
        return self.filed[key]


def pooled_rmse(outcomes: Iterable[dict[str, Any]]) -> float:
    """RMSE over all points of several runs, in cycles. Raises `ShowError` where there are none."""
    pairs = [(o["points"], o["rmse_cycles"]) for o in outcomes if o["rmse_cycles"] is not None]
    if not pairs:
        raise ShowError("no closed run has predictions in the cloud")
    return math.sqrt(sum(n * rmse**2 for n, rmse in pairs) / sum(n for n, _ in pairs))


@dataclass(slots=True)
class Turn:
    """One turn of the loop with one fault mode."""

    stage: Stage
    plant: Plant
    fault: str
    least_samples: int = 9
    least_runs_after: int = 4
    began: dict[str, int] = field(default_factory=dict)
    """Sequence number at each node when the fault began."""
    before_cycles: float = 0.0
    job: str = ""
    version: str = ""
    rollout: str = ""

    def chapters(self, ordinal: str) -> list[Chapter]:
        """The chapters of this turn."""
        return [
            Chapter(
                f"A fault that the model has not seen ({ordinal}): {self.fault}",
                "From now on the virtual engines wear out in another way. Nobody tells the model.",
                [
                    Step("the engines change", self.begin, ("sense",)),
                    Step("nodes find drift by themselves", self.find_drift, ("infer", "decide")),
                    Step("nodes upload what is worth learning", self.collect_samples, ("curate",)),
                    Step("maintenance closes its work orders", self.close_work_orders, ("learn",)),
                ],
            ),
            Chapter(
                f"The cloud learns ({ordinal})",
                "A job trains from the production model, the samples and the work orders; then the gate.",
                [
                    Step("a training job runs", self.train, ("learn",)),
                    Step("the gate judges the candidate", self.judge, ("gate",)),
                ],
            ),
            Chapter(
                f"The model goes out in two waves ({ordinal})",
                "One signed document says which share of the fleet runs what; each node decides for itself, "
                "tries the model in shadow, switches, and soaks it.",
                [
                    Step("a rollout in two waves starts", self.roll_out, ("roll out",)),
                    Step("the first wave adopts it", self.first_wave, ("adopt",)),
                    Step("the second wave adopts it", self.second_wave, ("adopt",)),
                    Step("the error, before and after", self.compare, ("aggregate",)),
                ],
            ),
        ]

    # -------------------------------------------------------------------------------------- the fault

    def begin(self) -> str:
        self.began = {
            node.name: max((event["seq"] for event in self._drifts(node.name)), default=0)
            for node in self.stage.nodes
        }
        first = self.stage.inject(self.fault)
        runs = ", ".join(f"{name} from run {run}" for name, run in first.items())
        return f"fault {self.fault} grows in {runs}"

    def find_drift(self) -> str:
        def found() -> list[str]:
            drifts = {node.name: self._new_drift(node.name) for node in self.stage.nodes}
            told = [
                f"{name}: novelty over its training quantile in {event['data']['exceed_rate']:.0%} of cycles"
                for name, event in drifts.items()
                if event
            ]
            return told if len(told) >= 2 else []

        return "\n".join(self.stage.wait(found, "drift on two nodes", DRIFT_TIMEOUT_S))

    def collect_samples(self) -> str:
        groups: set[str] = set()

        def enough() -> bool:
            ended = {truth.group for truth in self._runs()}
            samples = self._samples()
            groups.update(sample["group"] for sample in samples if sample["group"] in ended)
            return len(groups) >= self.least_samples

        self.stage.wait(enough, f"{self.least_samples} samples of the new fault", SAMPLES_TIMEOUT_S)
        size = sum(sample["size"] for sample in self._samples() if sample["group"] in groups)
        return f"{len(groups)} runs with fault {self.fault}, {size / 1e3:.0f} kB, by resumable HTTP"

    def close_work_orders(self) -> str:
        runs = self._runs()
        outcomes = [self.plant.file(truth) for truth in runs]
        self.before_cycles = pooled_rmse(outcomes)
        machines = len({truth.machine for truth in runs})
        return (
            f"{len(runs)} failures on {machines} machines filed; on them the model in production was off by "
            f"{self.before_cycles:.1f} cycles (RMSE)"
        )

    # ------------------------------------------------------------------------------------ the learning

    def train(self) -> str:
        answer = self.stage.client.post(self.stage.app_path("jobs"), {"parameters": {}, "seed": 1})
        self.job = answer["id"]
        seen: list[str] = []

        def ended() -> dict[str, Any] | None:
            job = self._job()
            text = f"{job['progress']:.0%} {job['message']}".strip()
            if job["state"] == "running" and (not seen or seen[-1] != text):
                seen.append(text)
            return job if job["state"] not in ("queued", "running") else None

        job = self.stage.wait(ended, "the training job ends", JOB_TIMEOUT_S)
        if job["state"] != "done":
            reasons = "; ".join(job["gate"].get("reasons", []))
            raise ShowError(f"the job ended as {job['state']}: {job['message']} {reasons}")
        self.version = job["version"]
        seconds = (job["ended_ns"] - job["started_ns"]) / 1e9
        steps = " | ".join(seen[:: max(1, len(seen) // 4)])
        return f"version {self.version} from {job['parent']} in {seconds:.1f} s\nprogress: {steps}"

    def judge(self) -> str:
        gate = self._job()["gate"]
        if not gate.get("passed"):
            raise ShowError(f"the gate refused {self.version}: {'; '.join(gate.get('reasons', []))}")
        rows = [("all: " + gate["figure"], gate["candidate"], gate["production"], True)]
        rows += [
            (f"slice {each['name']}", each["candidate"], each["production"], each["passed"])
            for each in gate["slices"]
        ]
        table = [f"{'':34s} {'candidate':>10s} {'production':>10s}"]
        table += [
            f"{name:34s} {_number(own)} {_number(other)} {'passed' if passed else 'FELL'}"
            for name, own, other, passed in rows
        ]
        return f"passed, better by {gate['gain']:.1%}\n" + "\n".join(table)

    # ------------------------------------------------------------------------------------- the rollout

    def roll_out(self) -> str:
        answer = self.stage.client.post(
            self.stage.app_path("rollouts"), {"version": self.version, "waves": list(WAVES)}
        )
        self.rollout = answer["id"]
        shares = " then ".join(f"{share:.0%}" for share in WAVES)
        return f"rollout {self.rollout} of {self.version}: {shares} of the fleet"

    def first_wave(self) -> str:
        def advanced() -> list[str]:
            rollout = self._rollout()
            return self._confirmed() if rollout["wave"] >= 1 or rollout["state"] == "done" else []

        names = self.stage.wait(advanced, "the first wave is confirmed", WAVE_TIMEOUT_S)
        return f"{', '.join(names)} confirmed; the others still run the old model\n{self._steps(names[0])}"

    def second_wave(self) -> str:
        def done() -> bool:
            return self._rollout()["state"] == "done" and len(self._confirmed()) == len(self.stage.nodes)

        self.stage.wait(done, "every node is confirmed", WAVE_TIMEOUT_S)
        return "\n".join(f"{node.name}: {self._steps(node.name)}" for node in self.stage.nodes)

    def compare(self) -> str:
        """Wait for runs that lie wholly under the new model, close them, and compare."""

        def outcomes() -> list[dict[str, Any]]:
            found = [self.plant.file(truth) for truth in self._runs()]
            after = [outcome for outcome in found if outcome["versions"] == [self.version]]
            return after if len(after) >= self.least_runs_after else []

        after = self.stage.wait(outcomes, f"{self.least_runs_after} runs under the new model", 60.0)
        error = pooled_rmse(after)
        if not error < self.before_cycles:
            raise ShowError(f"the error is {error:.1f} cycles, before it was {self.before_cycles:.1f}")
        return (
            f"RMSE on live runs with fault {self.fault}: {self.before_cycles:.1f} cycles before, "
            f"{error:.1f} after ({1 - error / self.before_cycles:.0%} less), {len(after)} fresh runs"
        )

    # ---------------------------------------------------------------------------------- what there is

    def _runs(self) -> list[Truth]:
        """Ended runs with this turn's fault."""
        return [truth for truth in self.plant.truths() if truth.fault == self.fault]

    def _samples(self) -> Sequence[dict[str, Any]]:
        return self.stage.client.items("/v1/samples", app=self.stage.app, limit=200)

    def _drifts(self, node: str) -> list[dict[str, Any]]:
        events = self.stage.events(node, type="edgeloop.drift")
        return [event for event in events if event["data"]["state"] == "drift"]

    def _new_drift(self, node: str) -> dict[str, Any] | None:
        return next((e for e in self._drifts(node) if e["seq"] > self.began.get(node, 0)), None)

    def _job(self) -> dict[str, Any]:
        return self.stage.ask(self.stage.app_path(f"jobs/{self.job}"))

    def _rollout(self) -> dict[str, Any]:
        rollout = self.stage.ask(self.stage.app_path(f"rollouts/{self.rollout}"))
        if rollout["state"] in ("halted", "reverted"):
            raise ShowError(f"rollout {self.rollout} ended as {rollout['state']}: {rollout['reason']}")
        return rollout

    def _confirmed(self) -> list[str]:
        nodes = [self.stage.node(node.name) for node in self.stage.nodes]
        return [node["node"] for node in nodes if node["version"] == self.version and node["confirmed"]]

    def _steps(self, node: str) -> str:
        """The steps of adoption that a node reported for this turn's version."""
        events = self.stage.events(node, type="edgeloop.adoption")
        steps = [event["data"]["step"] for event in events if event["data"]["version"] == self.version]
        return " → ".join(dict.fromkeys(steps))


def _number(value: float | None) -> str:
    return f"{'-':>10s}" if value is None else f"{value:10.2f}"
