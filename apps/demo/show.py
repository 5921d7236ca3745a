"""The show: the whole loop on this machine, as a story that is checked while it is told.

Three virtual turbofans, each with a node of its own, and one cloud, all real processes on loopback. The
chapters: the edge decides; the network of one node is cut; two turns of the loop with two faults that the
model has not seen; bad models that are stopped; what it came to.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.demo.learning import Turn
from apps.demo.plant import NEW_FAULTS, Plant, pooled_rmse
from apps.demo.processes import ShowError
from apps.demo.refusals import Refusals
from apps.demo.scene import Watcher, metrics, waiting_events
from apps.demo.stage import SPEED, Stage, Truth
from apps.demo.story import Chapter, Outcome, Step
from apps.demo.world import EdgeNode

APP = "industrial"
KIND = "turbofan"
MACHINES = ("engine-1", "engine-2", "engine-3")
FAULTS = NEW_FAULTS[:2]
"""What happens to the engines in the two turns of the story."""
CUT_EVENTS = 200
"""Events that a node must have kept before its network comes back."""


@dataclass(slots=True)
class Opening:
    """The chapters before the first fault, and the closing one."""

    stage: Stage
    plant: Plant

    def chapters(self) -> list[Chapter]:
        app = f"/ui/apps/{self.stage.app}"
        return [
            Chapter(
                "A cloud and three virtual engines",
                "Each engine has a node of its own, a process that needs no cloud to decide.",
                [
                    Step("the cloud starts", self.start_cloud, (), "/ui/fleet"),
                    Step("three nodes start", self.start_nodes, ("sense",), "/ui/fleet"),
                ],
            ),
            Chapter(
                "The edge decides",
                "Remaining life with a 90 % interval at every cycle, and an alarm that explains itself.",
                [
                    Step("predictions arrive", self.predictions, ("infer", "send", "aggregate"), app),
                    Step("the edge raises alarms", self.alarms, ("decide",), "/ui/alerts"),
                    Step(
                        "runs end, maintenance closes work orders",
                        self.known_error,
                        ("learn",),
                        f"{app}/machines/{self.stage.machines[0]}",
                    ),
                ],
            ),
        ]

    def closing(self, *, again: bool = False) -> Chapter:
        count = Step("nothing is lost and nothing is doubled", self.count, ("send", "aggregate"), "/ui/data")
        start = Step("the engines go on", self.start_nodes, ("sense",), "/ui/fleet")
        return Chapter(
            "What it came to",
            "Every event that a node committed, counted in the cloud.",
            [count, start] if again else [count],
        )

    # ------------------------------------------------------------------------------------------ start

    def start_cloud(self) -> str:
        file = self.stage.cloud.file if self.stage.cloud.alive else self.stage.cloud.start()
        return f"{file.http_url}, broker {file.broker_kind} on {file.mqtt_host}:{file.mqtt_port}"

    def start_nodes(self) -> str:
        self.stage.ready()
        nodes = self.stage.start_nodes()
        if not all(node["virtual"] for node in nodes):
            raise ShowError("a virtual source is not said to be virtual")
        return "\n".join(
            f"{node['node']}: {node['state']}, model {node['version']}, profile {node['profile']}, "
            f"{SPEED} cycles a second, virtual"
            for node in nodes
        )

    # ---------------------------------------------------------------------------------------- the edge

    def predictions(self) -> str:
        self.stage.ready()

        def all_report() -> list[dict[str, Any]]:
            machines = self.stage.ask(self.stage.app_path("machines"), limit=100)["items"]
            return machines if len(machines) == len(self.stage.nodes) else []

        machines = self.stage.wait(all_report, "a prediction of each engine", 20.0)
        return "\n".join(
            f"{m['machine']}: cycle {m['cycle']}, {m['rul_cycles']:.0f} cycles left "
            f"({m['lower_cycles']:.0f} to {m['upper_cycles']:.0f})"
            for m in machines
        )

    def alarms(self) -> str:
        self.stage.ready()

        def due() -> dict[str, Any] | None:
            alerts = self.stage.ask("/v1/alerts", limit=50)["items"]
            return next((a for a in alerts if a["type"].endswith("maintenance_due")), None)

        data = (alert := self.stage.wait(due, "a maintenance alarm", 40.0))["data"]
        return (
            f"{alert['subject']}, cycle {data['cycle']}: at least {data['lower_cycles']:.0f} cycles left, "
            f"horizon {data['horizon_cycles']:.0f}; because of {', '.join(data['sensors'])}"
        )

    def known_error(self) -> str:
        self.stage.ready()

        def closed() -> list[Truth]:
            truths = self.plant.newest()
            return truths if len(truths) >= len(self.stage.nodes) else []

        truths = self.stage.wait(closed, "three runs have ended", 40.0)
        error = pooled_rmse(self.plant.file(truth) for truth in truths)
        faults = ", ".join(sorted({truth.fault for truth in truths}))
        return f"{len(truths)} failures ({faults}); the edge had been off by {error:.1f} cycles (RMSE)"

    def count(self) -> str:
        """Stop the nodes, so that each has sent what it had, and count."""
        self.stage.ready()
        sent = sum(node.bytes_up() for node in self.stage.nodes)
        healths = [self.stage.node(node.name)["health"] for node in self.stage.nodes]
        for node in self.stage.nodes:
            if (code := node.stop()) != 0:
                raise ShowError(f"{node.name} ended with exit code {code}; see {node.child.log}")
        streams = [self.stage.stream(node.name) for node in self.stage.nodes]
        missing = sum(stream.missing for stream in streams)
        doubled = sum(stream.doubled for stream in streams)
        quarantined = len(self.stage.client.items("/v1/quarantine"))
        raw = sum(int(health.get("bytes_raw", 0)) for health in healths)
        if missing or doubled or quarantined:
            raise ShowError(f"{missing} events lost, {doubled} doubled, {quarantined} quarantined")
        text = f"{sum(stream.events for stream in streams):,} events in, {missing} lost, {doubled} doubled"
        if raw:
            text += f"; {sent / 1e6:.1f} MB sent, everything to the cloud would be {raw / 1e6:.1f} MB"
        return text


@dataclass(slots=True)
class Outage:
    """The network of one node, which can be unplugged and plugged in."""

    stage: Stage
    machine: str
    before: int = 0
    """Events of the node in the cloud when it was unplugged."""
    kept: int = 0

    def chapter(self) -> Chapter:
        page = f"/ui/nodes/{self.machine}"
        return Chapter(
            "The network is cut",
            f"{self.machine} loses its network. It goes on deciding, and keeps what it cannot send.",
            [
                Step(f"the network of {self.machine} is cut", self.cut, ("keep",), page),
                Step("it comes back, and everything arrives once", self.restore, ("send",), page),
            ],
        )

    def cut(self) -> str:
        self.stage.ready(plugged=False)
        node = self.stage.find_node(self.machine)
        if not node.is_cut:
            node.cut()
            self.before = self._committed(node)
        decided = metrics(node).get("edgeloop_readings_total", 0)

        def kept() -> bool:
            self.kept = waiting_events(node) or 0
            return self.kept >= CUT_EVENTS

        started = time.monotonic()
        self.stage.wait(kept, f"{CUT_EVENTS} events are kept", 40.0)
        arrived = self._committed(node) - self.before
        readings = metrics(node).get("edgeloop_readings_total", 0) - decided
        if arrived > CUT_EVENTS / 2:
            raise ShowError(f"{arrived} events came through a network that is cut")
        return (
            f"{time.monotonic() - started:.1f} s without network: {readings:.0f} more readings decided, "
            f"{self.kept} events kept on the node, the others go on"
        )

    def restore(self) -> str:
        self.stage.ready(plugged=False)
        node = self.stage.find_node(self.machine)
        if not node.is_cut:
            raise ShowError(f"{self.machine} is plugged in: unplug it first")
        self.kept = waiting_events(node) or self.kept
        node.restore()
        started = time.monotonic()
        needed = self.before + self.kept
        self.stage.wait(lambda: self._committed(node) >= needed, "what was kept has arrived", 30.0)
        seconds = time.monotonic() - started
        stream = self.stage.stream(node.name)
        if stream.missing or stream.doubled:
            raise ShowError(f"{stream.missing} events are missing, {stream.doubled} are doubled")
        return (
            f"{self.kept} kept events arrived {seconds:.1f} s later; sequence 1 to {stream.events} of "
            f"{node.name}: 0 missing, 0 doubled"
        )

    def _committed(self, node: EdgeNode) -> int:
        """Events of a node in the cloud: the highest place of its newest event."""
        newest = self.stage.ask(f"/v1/nodes/{node.name}/events", limit=1, order="newest")["items"]
        return newest[0]["seq"] if newest else 0


class Acts:
    """All acts on one stage, as the story and a presenter share them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.plant = Plant(stage)
        self.opening = Opening(stage, self.plant)
        self.outages = {name: Outage(stage, name) for name in stage.machines}
        self.turns = [Turn(stage, self.plant, fault) for fault in FAULTS]
        self.refusals = Refusals(stage, self.plant)

    def story(self, *, then: Sequence[Chapter] = (), again: bool = False) -> list[Chapter]:
        """The whole story, with ``then`` before its closing chapter; ``again`` ends with nodes that run."""
        first, second = self.turns
        return [
            *self.opening.chapters(),
            self.outages[MACHINES[1]].chapter(),
            *first.chapters("first turn"),
            *second.chapters("second turn"),
            self.refusals.chapter(),
            *then,
            self.opening.closing(again=again),
        ]


def chapters_of(stage: Stage, *, look_around_until: float = 0.0) -> list[Chapter]:
    """The whole story; before its end the world goes on until a monotonic time, for who wants to look."""
    rest_s = look_around_until - time.monotonic()

    def look_around() -> str:
        while (left_s := look_around_until - time.monotonic()) > 0:
            time.sleep(min(1.0, left_s))
        return f"the API was at {stage.cloud.file.http_url}/docs, its token in {stage.cloud.folder}/secrets"

    interval = Chapter("Look around", "The engines go on.", [Step("time to look around", look_around)])
    return Acts(stage).story(then=[interval] if rest_s > 0 else [])


@contextmanager
def watched(stage: Stage) -> Iterator[Watcher]:
    """The watcher that feeds the live view."""
    with Watcher(stage.nodes, stage.ask, stage.app) as watcher:
        yield watcher


def ending(outcome: Outcome, folder: Path, *, kept: bool) -> list[str]:
    """The last lines: how it went, and what to do next."""
    minutes, seconds = divmod(round(outcome.seconds), 60)
    if outcome.failure:
        return [
            f"FAILED after {minutes} min {seconds} s: {outcome.happened} of {outcome.steps} steps happened",
            f"what did not: {outcome.failure}",
            f"logs of all processes: {folder / 'logs'}",
        ]
    lines = [
        f"All {outcome.steps} steps happened, in {minutes} min {seconds} s. All data was virtual.",
        "Next:",
        "  edgeloop cloud up --data my-cloud            a cloud that stays",
        "  edgeloop node run --help                     a node with your own source (csv:, virtual:, ...)",
        "  README.md                                    how the rooms lie, and the measured figures",
    ]
    return [*lines, f"The show's data and logs: {folder}"] if kept else lines
