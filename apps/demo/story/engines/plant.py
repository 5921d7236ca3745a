"""The plant on the stage: its maintenance, which the show plays.

It knows what became of each run, because the virtual source tells the truth to whoever opens it, and files
it as a plant would: by closing work orders through the industrial app's API. It also keeps which fault each
model was taught, so that an act can say whether a fault is new to the model in production.
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
NEWEST = 12
"""Runs of a machine whose work orders are closed; a show that has gone on for an hour has a thousand."""
LEAST_RUNS = 3
"""Runs of a fault in a training job from which the fault counts as taught."""
LATE_CYCLE = 60
"""From this cycle on, a run may end before the cloud has heard of it."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What became of one run of one machine."""

    machine: str
    run: int
    cycle: int
    """The last one: the machine failed after it."""
    fault: str

    @property
    def group(self) -> str:
        return f"{self.machine}/run-{self.run}"


@dataclass(slots=True)
class Plant:
    """The plant's maintenance, which the show plays: it knows what became of each run, and files it."""

    stage: Stage
    filed: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    """Outcomes by machine and run, as the cloud answered the work orders."""
    taught: dict[str, set[str]] = field(default_factory=dict)
    """Versions that were trained on a fault."""
    fault: str = ""
    """The fault that was injected last; empty while the machines wear as they always did."""
    _truths: dict[str, list[Truth]] = field(default_factory=dict)

    def current_run(self, node: EdgeNode) -> tuple[int, int]:
        """``(run, cycle)`` that the cloud last heard of a node's machine; ``(0, 0)`` before the first."""
        machines = self.stage.ask(self.stage.app_path("machines"), limit=100)["items"]
        return next(((m["run"], m["cycle"]) for m in machines if m["machine"] == node.name), (0, 0))

    def inject(self, fault: str) -> dict[str, int]:
        """Let ``fault`` grow in the runs of all machines from the next one on; the first such run of each."""
        first: dict[str, int] = {}
        self.fault = fault
        for node in self.stage.nodes:
            run, cycle = self.current_run(node)
            first[node.name] = run + (1 if cycle < LATE_CYCLE else 2)
            file = self.stage.inject_file(node)
            lines = file.read_text("utf-8") if file.exists() else ""
            durable.write(file, f"{lines}{first[node.name]} {fault}\n".encode())
        return first

    def let_engines_fail(self) -> str:
        """Have engines that come to the end of their life in a way that production knows."""
        self.stage.ready()
        if not self.fault or self.fault in self.known():
            return ""
        first = self.inject(KNOWN_FAULT)

        def all_run() -> bool:
            return all(self.current_run(node)[0] >= first[node.name] for node in self.stage.nodes)

        self.stage.wait(all_run, f"runs with fault {KNOWN_FAULT}")
        return f"the engines fail of {KNOWN_FAULT} again, which production knows\n"

    def known(self) -> set[str]:
        """Faults that the model in production has learnt."""
        production = self.stage.production()
        path = self.stage.app_path(f"models/{production}/lineage")
        versions = {link["version"] for link in self.stage.ask(path)["chain"]}
        return {KNOWN_FAULT} | {fault for fault, taught in self.taught.items() if taught & versions}

    def note_taught(self, version: str) -> None:
        """``version`` was trained on what has been filed until now."""
        filed = Counter(truth.fault for truth in self.truths() if (truth.machine, truth.run) in self.filed)
        for fault, runs in filed.items():
            if runs >= LEAST_RUNS:
                self.taught.setdefault(fault, set()).add(version)

    def newest(self) -> list[Truth]:
        """The newest runs that have ended, a few of each machine."""
        return [truth for node in self.stage.nodes for truth in self.truths_of(node)[-NEWEST:]]

    def close_work_orders(self) -> str:
        """Close the work orders of the newest runs, whatever their fault."""
        self.stage.ready()
        truths = self.newest()
        if not truths:
            raise ShowError("no engine has failed yet: wait a few seconds")
        new = sum((truth.machine, truth.run) not in self.filed for truth in truths)
        outcomes: dict[str, list[dict[str, Any]]] = {}
        for truth in truths:
            outcomes.setdefault(truth.fault, []).append(self.file(truth))
        lines = [f"{len(truths)} failures on {len(self.stage.nodes)} machines, {new} of them filed now"]
        for fault, found in sorted(outcomes.items()):
            with suppress(ShowError):
                lines.append(
                    f"{fault}: {len(found)} runs, the edge was off by {pooled_rmse(found):.1f} cycles"
                )
        return "\n".join(lines)

    def truths(self) -> list[Truth]:
        """Every run that has ended, of all machines."""
        return [truth for node in self.stage.nodes for truth in self.truths_of(node)]

    def truths_of(self, node: EdgeNode) -> list[Truth]:
        """What is known of a node's machine: each run that has ended, with its true last cycle."""
        known = self._truths.setdefault(node.name, [])
        source = self.stage.open_source(node)
        run, _ = self.current_run(node)
        for number in range(len(known), run):
            made = source.machines[0].run(number)  # type: ignore[attr-defined]
            known.append(Truth(node.name, number, made.failure_cycle, made.fault))
        return known

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


def known_share(outcomes: Iterable[dict[str, Any]]) -> float:
    """Share of the cycles of several runs in which the remaining life was known."""
    known = total = 0
    for outcome in outcomes:
        known += outcome["points"]
        total += outcome["points"] + outcome["withheld"]
    return known / total if total else 0.0
