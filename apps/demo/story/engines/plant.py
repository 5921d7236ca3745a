"""Simulated maintenance of the plant.

The ground truth of each run comes from a second instance of the virtual source. Maintenance files it by
closing work orders through the industrial app's API, and records the faults that each model was trained on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from apps.demo.world.processes import ShowError
from apps.demo.world.stage import Stage
from apps.demo.world.world import EdgeNode
from common import durable

KNOWN_FAULT = "hpc"
"""The fault mode that the bundled model was trained on."""
NEW_FAULTS = ("fan", "lpt", "bearing")
"""Fault modes of the virtual turbofan that no engine in the training data has."""
MAX_RUNS = 12
"""Newest runs of a machine whose work orders are closed; after an hour there are a thousand runs."""
MIN_RUNS = 3
"""Filed runs of a fault from which a training job counts as trained on it."""
LATE_CYCLE = 60
"""From this cycle on, a run may end before the cloud has its events."""


@dataclass(frozen=True, slots=True)
class EndedRun:
    """Ground truth of one ended run of one machine."""

    machine: str
    number: int
    cycle: int
    """Last cycle before the failure."""
    fault: str

    @property
    def group(self) -> str:
        return f"{self.machine}/run-{self.number}"


@dataclass(slots=True)
class Plant:
    """Maintenance of all engines on the stage."""

    stage: Stage
    filed: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    """Answers of the cloud to work orders, by machine and run."""
    trained: dict[str, set[str]] = field(default_factory=dict)
    """Versions trained on a fault, by fault."""
    fault: str = ""
    """The fault injected last; empty before the first."""
    _ended: dict[str, list[EndedRun]] = field(default_factory=dict)

    def current_run(self, node: EdgeNode) -> tuple[int, int]:
        """``(run, cycle)`` of a node's machine as last reported to the cloud; ``(0, 0)`` before that."""
        machines = self.stage.get(self.stage.app_path("machines"), limit=100)["items"]
        return next(((m["run"], m["cycle"]) for m in machines if m["machine"] == node.name), (0, 0))

    def inject(self, fault: str) -> dict[str, int]:
        """Inject ``fault`` into all future runs; returns the first such run of each machine."""
        first: dict[str, int] = {}
        self.fault = fault
        for node in self.stage.nodes:
            run, cycle = self.current_run(node)
            first[node.name] = run + (1 if cycle < LATE_CYCLE else 2)
            file = self.stage.inject_file(node)
            lines = file.read_text("utf-8") if file.exists() else ""
            durable.write(file, f"{lines}{first[node.name]} {fault}\n".encode())
        return first

    def restore_known_fault(self) -> str:
        """Make the engines fail of a fault that production knows."""
        self.stage.ready()
        if not self.fault or self.fault in self.known_faults():
            return ""
        first = self.inject(KNOWN_FAULT)

        def all_begun() -> bool:
            return all(self.current_run(node)[0] >= first[node.name] for node in self.stage.nodes)

        self.stage.wait(all_begun, f"runs with fault {KNOWN_FAULT}")
        return f"the engines fail of {KNOWN_FAULT} again, a fault that production knows\n"

    def known_faults(self) -> set[str]:
        """Faults that the model in production has learnt."""
        production = self.stage.production()
        path = self.stage.app_path(f"models/{production}/lineage")
        versions = {link["version"] for link in self.stage.get(path)["chain"]}
        return {KNOWN_FAULT} | {fault for fault, trained_on in self.trained.items() if trained_on & versions}

    def record_training(self, version: str) -> None:
        """Record that ``version`` was trained on the work orders filed so far."""
        filed = Counter(run.fault for run in self.ended_runs() if (run.machine, run.number) in self.filed)
        for fault, runs in filed.items():
            if runs >= MIN_RUNS:
                self.trained.setdefault(fault, set()).add(version)

    def newest_runs(self) -> list[EndedRun]:
        """The newest ended runs, at most `MAX_RUNS` of each machine."""
        return [run for node in self.stage.nodes for run in self.ended_runs_of(node)[-MAX_RUNS:]]

    def close_work_orders(self) -> str:
        """Close the work orders of the newest runs of any fault."""
        self.stage.ready()
        runs = self.newest_runs()
        if not runs:
            raise ShowError("no engine has failed yet: wait a few seconds")
        new = sum((run.machine, run.number) not in self.filed for run in runs)
        outcomes: dict[str, list[dict[str, Any]]] = {}
        for run in runs:
            outcomes.setdefault(run.fault, []).append(self.close_work_order(run))
        lines = [f"{len(runs)} failures of {len(self.stage.nodes)} machines, {new} newly filed"]
        for fault, found in sorted(outcomes.items()):
            with suppress(ShowError):
                lines.append(
                    f"{fault}: {len(found)} runs, error at the edge {pooled_rmse(found):.1f} cycles (RMSE)"
                )
        return "\n".join(lines)

    def ended_runs(self) -> list[EndedRun]:
        """All ended runs of all machines."""
        return [run for node in self.stage.nodes for run in self.ended_runs_of(node)]

    def ended_runs_of(self, node: EdgeNode) -> list[EndedRun]:
        """All ended runs of a node's machine, with their true last cycle."""
        known = self._ended.setdefault(node.name, [])
        source: Any = self.stage.open_source(node)  # The turbofan's ground truth is not in `Source`.
        run, _ = self.current_run(node)
        for number in range(len(known), run):
            truth = source.machines[0].run(number)
            known.append(EndedRun(node.name, number, truth.failure_cycle, truth.fault))
        return known

    def close_work_order(self, run: EndedRun) -> dict[str, Any]:
        """Close the work order of an ended run, once; returns the cloud's answer."""
        key = (run.machine, run.number)
        if key not in self.filed:
            order = {
                "machine": run.machine,
                "run": run.number,
                "kind": "failure",
                "cycle": run.cycle,
                "note": run.fault,
            }
            self.filed[key] = self.stage.client.post(self.stage.app_path("work-orders"), order)
        return self.filed[key]


def pooled_rmse(outcomes: Iterable[dict[str, Any]]) -> float:
    """RMSE over all points of several runs, in cycles. Raises `ShowError` without points."""
    pairs = [(o["points"], o["rmse_cycles"]) for o in outcomes if o["rmse_cycles"] is not None]
    if not pairs:
        raise ShowError("no run with a closed work order has predictions in the cloud")
    return math.sqrt(sum(n * rmse**2 for n, rmse in pairs) / sum(n for n, _ in pairs))


def known_share(outcomes: Iterable[dict[str, Any]]) -> float:
    """Share of the cycles of several runs with a known remaining life."""
    known = total = 0
    for outcome in outcomes:
        known += outcome["points"]
        total += outcome["points"] + outcome["withheld"]
    return known / total if total else 0.0
