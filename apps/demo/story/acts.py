"""Steps that every show has: start of cloud and nodes, a network outage, and the final count.

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

MIN_QUEUED_EVENTS = 200
"""Events that a node must have queued before its network is restored."""


@dataclass(slots=True)
class OpeningAndCount:
    """First and last chapter of every story."""

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

    def count_chapter(self, *, keep_running: bool) -> Chapter:
        """The count; with ``keep_running`` the nodes are started again."""
        subjects = self.stage.show.subject_kind.split()[-1]
        count = Step("no event is lost or duplicated", self.count, ("send", "aggregate"), "/ui/data")
        restart = Step(f"the {subjects} continue", self.start_nodes, ("sense",), "/ui/fleet")
        return Chapter(
            "Final count",
            "Every event that a node has committed is counted in the cloud.",
            [count, restart] if keep_running else [count],
        )

    def start_cloud(self) -> str:
        file = self.stage.cloud.file if self.stage.cloud.alive else self.stage.cloud.start()
        return f"{file.http_url}, broker {file.broker_kind} on {file.mqtt_host}:{file.mqtt_port}"

    def start_nodes(self) -> str:
        self.stage.ready()
        nodes = self.stage.start_nodes()
        if not all(node["virtual"] for node in nodes):
            raise ShowError("a virtual source is not marked as virtual")
        return "\n".join(
            f"{node['node']}: {node['state']}, model {node['version']}, profile {node['profile']}, "
            f"{self.stage.show.speed_label}, virtual"
            for node in nodes
        )

    def count(self) -> str:
        """Stop the nodes, so that each sends what it has queued, and count."""
        self.stage.ready()
        sent = sum(node.bytes_up() for node in self.stage.nodes)
        healths = [self.stage.node(node.name)["health"] for node in self.stage.nodes]
        for node in self.stage.nodes:
            if (code := node.stop()) != 0:
                raise ShowError(f"{node.name} ended with exit code {code}; see {node.child.log}")
        streams = [self.stage.stream(node.name) for node in self.stage.nodes]
        missing = sum(stream.missing for stream in streams)
        duplicated = sum(stream.duplicated for stream in streams)
        quarantined = len(self.stage.client.items("/v1/quarantine"))
        raw = sum(int(health.get("bytes_raw", 0)) for health in healths)
        if missing or duplicated or quarantined:
            raise ShowError(f"{missing} events lost, {duplicated} duplicated, {quarantined} quarantined")
        events = sum(stream.events for stream in streams)
        text = f"{events:,} events committed, {missing} lost, {duplicated} duplicated"
        if raw:
            text += f"; {sent / 1e6:.1f} MB sent instead of {raw / 1e6:.1f} MB of raw readings"
        return text


@dataclass(slots=True)
class Outage:
    """Outage and recovery of one node's network."""

    stage: Stage
    subject: str
    min_queued: int = MIN_QUEUED_EVENTS
    committed_before: int = 0
    """Events of the node in the cloud at the start of the outage."""
    in_flight: int = 0
    """Unacknowledged events at the start of the outage."""
    queued: int = 0

    def chapter(self) -> Chapter:
        page = f"/ui/nodes/{self.subject}"
        return Chapter(
            "Network outage",
            f"{self.subject} loses its network. It keeps deciding, and queues its events.",
            [
                Step(f"the network of {self.subject} is cut", self.cut, ("keep",), page),
                Step("the network is restored, every event arrives once", self.restore, ("send",), page),
            ],
        )

    def cut(self) -> str:
        self.stage.ready(plugged=False)
        node = self.stage.find_node(self.subject)
        if not node.is_cut:
            node.cut()
            self.committed_before = self._committed(node)
            self.in_flight = waiting_events(node) or 0
        readings_before = metrics(node).get("edgeloop_readings_total", 0)

        def enough_queued() -> bool:
            self.queued = (waiting_events(node) or 0) - self.in_flight
            return self.queued >= self.min_queued

        started = time.monotonic()
        self.stage.wait(enough_queued, f"{self.min_queued} events are queued")
        arrived = self._committed(node) - self.committed_before
        readings = metrics(node).get("edgeloop_readings_total", 0) - readings_before
        if arrived > self.in_flight:
            raise ShowError(f"{arrived} events arrived over a network that is cut")
        return (
            f"{time.monotonic() - started:.1f} s without network: {readings:.0f} readings decided, "
            f"{self.queued} events queued on the node; the other nodes are not affected"
        )

    def restore(self) -> str:
        self.stage.ready(plugged=False)
        node = self.stage.find_node(self.subject)
        if not node.is_cut:
            raise ShowError(f"the network of {self.subject} is not cut: unplug it first")
        self.queued = max(self.queued, (waiting_events(node) or 0) - self.in_flight)
        node.restore()
        started = time.monotonic()
        needed = self.committed_before + self.queued
        self.stage.wait(lambda: self._committed(node) >= needed, "the queued events have arrived")
        seconds = time.monotonic() - started
        stream = self.stage.stream(node.name)
        if stream.missing or stream.duplicated:
            raise ShowError(f"{stream.missing} events missing, {stream.duplicated} duplicated")
        return (
            f"{self.queued} queued events arrived within {seconds:.1f} s; sequence 1 to {stream.events} of "
            f"{node.name}: 0 missing, 0 duplicated"
        )

    def _committed(self, node: EdgeNode) -> int:
        """Highest sequence number of a node in the cloud."""
        newest = self.stage.get(f"/v1/nodes/{node.name}/events", limit=1, order="newest")["items"]
        return newest[0]["seq"] if newest else 0
