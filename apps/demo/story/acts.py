"""The acts that every show has: cloud and nodes start, a network is cut, everything is counted.

Each public method without an argument is the act of one step of a story: it returns its evidence or raises
`ShowError`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from apps.demo.story.story import Chapter, Step
from apps.demo.world.processes import ShowError
from apps.demo.world.snapshot import metrics, waiting_events
from apps.demo.world.stage import Stage
from apps.demo.world.world import EdgeNode

CUT_EVENTS = 200
"""Events that a node must have kept before its network comes back."""


@dataclass(slots=True)
class Frame:
    """How every story begins and ends."""

    stage: Stage

    def opening(self, title: str, text: str) -> Chapter:
        return Chapter(
            title,
            text,
            [
                Step("the cloud starts", self.start_cloud, (), "/ui/fleet"),
                Step("three nodes start", self.start_nodes, ("sense",), "/ui/fleet"),
            ],
        )

    def closing(self, *, again: bool) -> Chapter:
        """The count; ``again`` ends with nodes that run."""
        who = self.stage.show.who.split()[-1]
        count = Step("nothing is lost and nothing is doubled", self.count, ("send", "aggregate"), "/ui/data")
        start = Step(f"the {who} go on", self.start_nodes, ("sense",), "/ui/fleet")
        return Chapter(
            "What it came to",
            "Every event that a node committed, counted in the cloud.",
            [count, start] if again else [count],
        )

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
            f"{self.stage.show.pace}, virtual"
            for node in nodes
        )

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
    subject: str
    least_kept: int = CUT_EVENTS
    before: int = 0
    """Events of the node in the cloud when it was unplugged."""
    in_flight: int = 0
    """Events that waited then: on their way, or arrived and not yet cleared away."""
    kept: int = 0

    def chapter(self) -> Chapter:
        page = f"/ui/nodes/{self.subject}"
        return Chapter(
            "The network is cut",
            f"{self.subject} loses its network. It goes on deciding, and keeps what it cannot send.",
            [
                Step(f"the network of {self.subject} is cut", self.cut, ("keep",), page),
                Step("it comes back, and everything arrives once", self.restore, ("send",), page),
            ],
        )

    def cut(self) -> str:
        self.stage.ready(plugged=False)
        node = self.stage.find_node(self.subject)
        if not node.is_cut:
            node.cut()
            self.before = self._committed(node)
            self.in_flight = waiting_events(node) or 0
        decided = metrics(node).get("edgeloop_readings_total", 0)

        def kept() -> bool:
            self.kept = (waiting_events(node) or 0) - self.in_flight
            return self.kept >= self.least_kept

        started = time.monotonic()
        self.stage.wait(kept, f"{self.least_kept} events are kept")
        arrived = self._committed(node) - self.before
        readings = metrics(node).get("edgeloop_readings_total", 0) - decided
        if arrived > self.in_flight:
            raise ShowError(f"{arrived} events came through a network that is cut")
        return (
            f"{time.monotonic() - started:.1f} s without network: {readings:.0f} more readings decided, "
            f"{self.kept} events kept on the node, the others go on"
        )

    def restore(self) -> str:
        self.stage.ready(plugged=False)
        node = self.stage.find_node(self.subject)
        if not node.is_cut:
            raise ShowError(f"{self.subject} is plugged in: unplug it first")
        self.kept = max(self.kept, (waiting_events(node) or 0) - self.in_flight)
        node.restore()
        started = time.monotonic()
        needed = self.before + self.kept
        self.stage.wait(lambda: self._committed(node) >= needed, "what was kept has arrived")
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
