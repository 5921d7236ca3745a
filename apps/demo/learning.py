"""One turn of the loop on the stage: a new fault, drift, samples, work orders, training, rollout, and after.

`Turn` is one round with one fault mode; the show plays two of them, because loops tend to turn only once.
Each public method is the act of one step of the story: it returns its evidence or raises `ShowError`.
The acts need no order: each does what it lacks itself where that is quick, or says what has to come first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from apps.demo.plant import NEW_FAULTS, NEWEST, Plant, pooled_rmse
from apps.demo.processes import ShowError
from apps.demo.stage import Stage, Truth
from apps.demo.story import Chapter, Step

DRIFT = "edgeloop.drift"
WAVES = (0.34, 1.0)
DRIFT_TIMEOUT_S = 40.0
SAMPLES_TIMEOUT_S = 45.0
JOB_TIMEOUT_S = 240.0
WAVE_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Turn:
    """One turn of the loop with one fault mode."""

    stage: Stage
    plant: Plant
    fault: str
    chosen: bool = False
    """Whether this very fault is meant; otherwise one that production knows gives way to a new one."""
    least_samples: int = 9
    least_runs_after: int = 4
    began_s: float = 0.0
    """When the fault began, on the monotonic clock; 0 before that."""
    first: dict[str, int] = field(default_factory=dict)
    """First run of each machine with the fault."""
    earlier: set[tuple[str, str, int]] = field(default_factory=set)
    """The drift events that had come before, by node and place in its stream."""
    known: bool = False
    """Whether production knew the fault when it began."""
    before_cycles: float = 0.0
    job: str = ""
    version: str = ""
    rollout: str = ""

    def chapters(self, ordinal: str) -> list[Chapter]:
        """The chapters of this turn."""
        machine = f"/ui/apps/{self.stage.app}/machines/{self.stage.machines[0]}"
        return [
            Chapter(
                f"A fault that the model has not seen ({ordinal}): {self.fault}",
                "From now on the virtual engines wear out in another way. Nobody tells the model.",
                [
                    Step("the engines change", self.begin, ("sense",), machine),
                    Step("nodes find drift by themselves", self.find_drift, ("infer", "decide"), "/ui/fleet"),
                    Step(
                        "nodes upload what is worth learning",
                        self.collect_samples,
                        ("curate",),
                        "/ui/learning",
                    ),
                    Step("maintenance closes its work orders", self.close_work_orders, ("learn",), machine),
                ],
            ),
            Chapter(
                f"The cloud learns ({ordinal})",
                "A job trains from the production model, the samples and the work orders; then the gate.",
                [
                    Step("a training job runs", self.train, ("learn",), "/ui/learning"),
                    Step("the gate judges the candidate", self.judge, ("gate",)),
                ],
            ),
            Chapter(
                f"The model goes out in two waves ({ordinal})",
                "One signed document says which share of the fleet runs what; each node decides for itself, "
                "tries the model in shadow, switches, and soaks it.",
                [
                    Step("a rollout in two waves starts", self.roll_out, ("roll out",), "/ui/rollouts"),
                    Step("the first wave adopts it", self.first_wave, ("adopt",)),
                    Step("the second wave adopts it", self.second_wave, ("adopt",)),
                    Step("the error, before and after", self.compare, ("aggregate",), machine),
                ],
            ),
        ]

    # -------------------------------------------------------------------------------------- the fault

    def begin(self) -> str:
        self.stage.ready()
        known = self.plant.known()
        instead = ""
        if self.fault in known and not self.chosen:
            new = [fault for fault in NEW_FAULTS if fault not in known]
            if not new:
                raise ShowError(
                    "production has learnt every fault that the engines can have: reset the stage"
                )
            instead = f"{self.stage.production()} has learnt {self.fault}, so it is another one: "
            self.fault = new[0]
        self.earlier = {_place(event) for node in self.stage.nodes for event in self._drifts(node.name)}
        self.known = self.fault in known
        self.first = self.stage.inject(self.fault)
        self.began_s = time.monotonic()
        self.before_cycles, self.job, self.version, self.rollout = 0.0, "", "", ""
        runs = ", ".join(f"{name} from run {run}" for name, run in self.first.items())
        return f"{instead}fault {self.fault} grows in {runs}"

    def find_drift(self) -> str:
        self._grow()
        if self.known:
            return f"none: the model in production has learnt {self.fault}"

        def found() -> list[str]:
            drifts = {node.name: self._drift_now(node.name) for node in self.stage.nodes}
            told = [
                f"{name}: novelty over its training quantile in {event['data']['exceed_rate']:.0%} of cycles"
                + (", since before this fault" if _place(event) in self.earlier else "")
                for name, event in drifts.items()
                if event
            ]
            return told if len(told) >= 2 else []

        return "\n".join(self.stage.wait(found, "drift on two nodes", DRIFT_TIMEOUT_S))

    def collect_samples(self) -> str:
        self._grow()
        self._check_new()
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
        self._check_begun()
        runs = self._newest()
        if not runs:
            raise ShowError(f"no engine has failed of {self.fault} yet: wait a few seconds")
        outcomes = [self.plant.file(truth) for truth in runs]
        self.before_cycles = pooled_rmse(outcomes)
        machines = len({truth.machine for truth in runs})
        return (
            f"{len(runs)} failures on {machines} machines filed; on them the model in production was off by "
            f"{self.before_cycles:.1f} cycles (RMSE)"
        )

    # ------------------------------------------------------------------------------------ the learning

    def train(self) -> str:
        self._check_begun()
        self._check_new()
        if not self.before_cycles:
            self.collect_samples()
            self.close_work_orders()
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
            reasons = "; ".join(job["gate"].get("reasons", [])) or job["message"]
            raise ShowError(f"the job ended as {job['state']}: {reasons}")
        self.version = job["version"]
        self.plant.note_taught(self.version)
        seconds = (job["ended_ns"] - job["started_ns"]) / 1e9
        steps = " | ".join(seen[:: max(1, len(seen) // 4)])
        return f"version {self.version} from {job['parent']} in {seconds:.1f} s\nprogress: {steps}"

    def judge(self) -> str:
        if not self.job:
            raise ShowError("there is no training job to judge: start one first")
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
            f"{name:{width}s} {_number(own)} {_number(other)} {'passed' if passed else 'FELL'}"
            for name, own, other, passed in rows
        ]
        return f"passed, better by {gate['gain']:.1%}\n" + "\n".join(table)

    # ------------------------------------------------------------------------------------- the rollout

    def roll_out(self) -> str:
        self.stage.ready()
        self.version = self._approved()
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
        self._grow()
        if not self.before_cycles:
            raise ShowError(
                f"what the error was with {self.fault} before is not known: let the cloud learn first"
            )

        def outcomes() -> list[dict[str, Any]]:
            found = [self.plant.file(truth) for truth in self._newest()]
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

    def _check_begun(self) -> None:
        if not self.first:
            raise ShowError(
                "the engines have no new fault: let one grow first (a fault the model has not seen)"
            )

    def _check_new(self) -> None:
        if self.fault in self.plant.known():
            news = ", ".join(fault for fault in NEW_FAULTS if fault not in self.plant.known())
            raise ShowError(
                f"the model in production has learnt {self.fault} already: "
                + (f"inject one that it has not seen ({news})" if news else "reset the stage")
            )

    def _grow(self) -> None:
        """Let this turn's fault go on growing, if another one was injected meanwhile."""
        self._check_begun()
        self.stage.ready()
        if self.stage.fault != self.fault:
            self.stage.inject(self.fault)

    def _approved(self) -> str:
        """The version to roll out: this turn's own, else the newest that waits for it."""
        models = self.stage.ask(self.stage.app_path("models"), limit=100)["items"]
        waiting = [model["version"] for model in models if model["state"] == "approved"]
        if not waiting:
            raise ShowError("no approved model waits to be rolled out: let the cloud learn first")
        return self.version if self.version in waiting else waiting[0]

    def _runs(self) -> list[Truth]:
        """Ended runs with this turn's fault, since it began."""
        return [
            truth
            for truth in self.plant.truths()
            if truth.fault == self.fault and truth.run >= self.first[truth.machine]
        ]

    def _newest(self) -> list[Truth]:
        """The newest of them, a few of each machine."""
        runs = self._runs()
        return [r for name in self.stage.machines for r in [r for r in runs if r.machine == name][-NEWEST:]]

    def _samples(self) -> Sequence[dict[str, Any]]:
        return self.stage.client.items("/v1/samples", app=self.stage.app, limit=200)

    def _drifts(self, node: str) -> list[dict[str, Any]]:
        events = self.stage.events(node, type=DRIFT)
        return [event for event in events if event["data"]["state"] == "drift"]

    def _drift_now(self, node: str) -> dict[str, Any] | None:
        """The drift that a node found since the fault began, or that it had found before and is still in."""
        events = self.stage.events(node, type=DRIFT)
        drifts = [event for event in events if event["data"]["state"] == "drift"]
        new = next((event for event in drifts if _place(event) not in self.earlier), None)
        return new or (drifts[-1] if drifts and events[-1] is drifts[-1] else None)

    def _job(self) -> dict[str, Any]:
        return self.stage.ask(self.stage.app_path(f"jobs/{self.job}"))

    def _rollout(self) -> dict[str, Any]:
        if not self.rollout:
            raise ShowError("no rollout has been started here: start one first")
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


def _place(event: dict[str, Any]) -> tuple[str, str, int]:
    """Which event it is."""
    return event["node"], event["epoch"], event["seq"]


def _number(value: float | None) -> str:
    return f"{'-':>10s}" if value is None else f"{value:10.2f}"
