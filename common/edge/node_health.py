"""Health of a node: data of start and health events, ``/healthz``, and the metrics that are read at a scrape.

`NodeHealth.problems` is the one list of what keeps a node from being healthy; all three show it.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Protocol

from common.app.edge import Source
from common.app.spec import AppSpec
from common.config.node import NodeSettings
from common.edge.cloud_link import CloudLink
from common.edge.delivery.local_delivery import LocalDelivery
from common.edge.delivery.outbox import Outbox
from common.edge.disk_wear import DiskWear, written_bytes
from common.edge.losses import Losses
from common.edge.node_models import NodeModels
from common.edge.processing.processing import Processing
from common.edge.processing.reading_queue import ReadingQueue
from common.edge.sensing.several_sources import LiveSources
from common.edge.sensing.source_reader import SourceReader, SourceState
from common.edge.sensing.sources import parse_uri
from common.edge.telemetry import NodeMetrics

SILENT_S = 60.0
"""Silence of the process thread after which the node is not healthy."""
STUCK_S = 10.0
"""Time without a possible commit after which the node is not healthy."""
PROBLEM_CHARACTERS = 300


class NodeParts(Protocol):
    """The parts of a node that its health is read from."""

    spec: AppSpec
    name: str
    site: str
    source: Source
    reader: SourceReader
    queue: ReadingQueue
    processing: Processing
    models: NodeModels
    outbox: Outbox
    local_delivery: LocalDelivery
    cloud: CloudLink
    losses: Losses


class NodeHealth:
    """Reads the parts of ``node``; any thread may call it. ``check_clock`` runs before each health event."""

    def __init__(self, node: NodeParts, metrics: NodeMetrics, check_clock: Callable[[], None]) -> None:
        self._node = node
        self._metrics = metrics
        self._check_clock = check_clock
        self._wear = DiskWear()
        self._scraping = threading.Lock()
        self._counted: dict[int, float] = {}

    def problems(self) -> list[str]:
        """Problems that make the node unhealthy."""
        return [*self._faults(), *self._node.losses.problems()]

    def _faults(self) -> Iterator[str]:
        node, now_s = self._node, time.monotonic()
        stuck_since_s = node.processing.stuck_since_s
        if stuck_since_s is not None and (stuck_s := now_s - stuck_since_s) > STUCK_S:
            yield f"nothing could be kept for {stuck_s:.0f} s"
        if (silent_s := now_s - node.processing.alive_s) > SILENT_S:
            yield f"the process thread has been silent for {silent_s:.0f} s"
        if node.reader.state is SourceState.FAILED:
            yield f"the source fails: {node.reader.detail}"
        if isinstance(node.source, LiveSources):
            for name, detail in sorted(node.source.failing.copy().items()):
                hidden = node.spec.pseudonyms  # Either may name a person.
                yield "one of the sources fails" if hidden else f"the source {name} fails: {detail}"
        if node.local_delivery.alarms.problem:
            yield f"alarms are not sent at the machine: {node.local_delivery.alarms.problem}"
        if node.cloud.uplink is not None and node.cloud.uplink.shared:
            yield "another device uses this node's identity"
        health = node.models.adoption.health()
        if not health.soak_ok:
            yield f"the model {health.version} fails in its soak"
        refused = node.processing.platform.refused
        if refused.subjects > 0:
            yield f"{refused.subjects} subjects are refused: {refused.detail}"
        update = node.cloud.update_client.problem if node.cloud.update_client is not None else None
        if update is not None and update.reason != "unreachable":
            yield f"no update can be trusted: {update.reason}, {update}"

    def started_data(self, settings: NodeSettings, ended: str) -> Mapping[str, Any]:
        """Data of the event at a start; ``ended`` is how the previous process ended, empty if unknown."""
        node = self._node
        state = node.models.slots.state
        return {
            "version": state.version,
            "slot": state.live,
            "profile": node.models.profile.name,
            "provider": node.models.profile.providers[0],
            "app": node.spec.name,
            "virtual": node.source.virtual,
            "source": ",".join(sorted({parse_uri(uri).scheme for uri in settings.sources})),
            "tags": [*node.models.profile.tags, *settings.tags],
            "site": node.site,
            "edgeloop": installed_version("edgeloop"),
            "ended": ended,
            "python": sys.version.split()[0],
        }

    def event_data(self) -> Mapping[str, Any]:
        """Data of a health event; called by the process thread."""
        node = self._node
        self._check_clock()
        written = written_bytes()
        self._wear.add(time.monotonic(), written)
        problems = self.problems()
        return {
            **self._processing_data(),
            "rss_bytes": rss_bytes(),
            "cpu_s": round(time.process_time(), 2),
            "bytes_written": written,
            "bytes_written_per_day": self._wear.bytes_per_day,
            **self._delivery_data(),
            "source_state": node.reader.state.value,
            "source_detail": node.reader.detail[:500],
            "local_alarms_waiting": node.local_delivery.alarms.waiting,
            "local_alarms_problem": node.local_delivery.alarms.problem[:500],
            "rollout": node.models.slots.state.rollout,
            "settings_version": node.models.app_settings.version,
            "ok": not problems,
            "problems": [problem[:PROBLEM_CHARACTERS] for problem in problems],
            **({"updates": node.cloud.update_client.facts()} if node.cloud.update_client is not None else {}),
        }

    def _processing_data(self) -> dict[str, Any]:
        node, health = self._node, self._node.models.adoption.health()
        processing, outbox = node.processing, node.outbox
        return {
            "version": health.version,
            "slot": health.slot,
            "step": health.step,
            "readings": health.readings,
            "inference_failures": health.failures,
            "latency_p50_ms": round(health.latency_p50_ms, 4),
            "latency_p99_ms": round(health.latency_p99_ms, 4),
            "queue": len(node.queue),
            "outbox_events": outbox.events,
            "outbox_bytes": outbox.size_bytes,
            "dropped": node.queue.dropped + node.queue.dropped_before,
            "dropped_by": dict(node.queue.dropped_by),
            "unusable": processing.platform.problems.count("unusable"),
            "refused_subjects": processing.platform.refused.subjects,
            "refused_readings": processing.platform.refused.readings,
            "given_up": outbox.dropped,
            "drift": processing.decisions.drift.drifting,
            "bytes_raw": processing.decisions.raw_bytes,
            "soak_ok": health.soak_ok,
            "confirmed": health.confirmed,
            "virtual": node.source.virtual,
        }

    def _delivery_data(self) -> dict[str, Any]:
        uplink, curation = self._node.cloud.uplink, self._node.cloud.curation
        sent = uplink.traffic.bytes if uplink else 0
        uploaded = curation.bytes_sent if curation else 0
        return {
            "bytes_sent": sent + uploaded,
            "connected": uplink is not None and uplink.connected,
            "messages_rejected": uplink.traffic.rejected if uplink else 0,
            "batches_limited": uplink.traffic.limited if uplink else 0,
            "limited": uplink is not None and uplink.limited,
            "identity_shared": uplink is not None and uplink.shared,
            "epochs_left": uplink.traffic.epochs_left if uplink else 0,
            "samples_waiting": curation.waiting if curation else 0,
        }

    def healthz(self) -> tuple[bool, dict[str, Any]]:
        """Whether the node does its work and has lost nothing for a day, and the facts behind that."""
        node = self._node
        problems, health = self.problems(), node.models.adoption.health()
        return not problems, {
            "problems": problems,
            "node": node.name,
            "site": node.site,
            "app": node.spec.name,
            "version": health.version,
            "step": health.step,
            "virtual": node.source.virtual,
            "connected": node.cloud.uplink is not None and node.cloud.uplink.connected,
            "source_state": node.reader.state.value,
            "source_detail": node.reader.detail,
            "local_alarms_waiting": node.local_delivery.alarms.waiting,
            "outbox_events": node.outbox.events,
            "epoch": node.outbox.epoch,
            "acked_seq": node.outbox.acked_seq,
            "readings": health.readings,
            "dropped": node.queue.dropped + node.queue.dropped_before,
            "dropped_by": dict(node.queue.dropped_by),
            "samples": self._samples(),
        }

    def _samples(self) -> dict[str, Any]:
        """Conditions for samples: novelty and drift of the readings, limits, budget."""
        node = self._node
        novelty = node.processing.decisions.drift.novelty
        found = {
            "novelty": round(novelty[0], 4) if novelty else None,
            "novelty_threshold": novelty[1] if novelty else None,
            "drift": node.processing.decisions.drift.drifting,
        }
        if node.cloud.curation is None:
            return {**found, "detail": "curation is switched off (curation.enabled)"}
        return {**found, **node.cloud.curation.status()}

    def refresh_metrics(self) -> None:
        """Update the metrics that are not counted as they happen. Runs for each scrape."""
        node, metrics, health = self._node, self._metrics, self._node.models.adoption.health()
        metrics.outbox_events.set(node.outbox.events)
        metrics.outbox_bytes.set(node.outbox.size_bytes)
        metrics.connected.set(node.cloud.uplink is not None and node.cloud.uplink.connected)
        metrics.drift.set(node.processing.decisions.drift.drifting)
        metrics.model.clear()
        metrics.model.labels(health.version, health.slot, health.step).set(1)
        samples_bytes = node.cloud.curation.bytes_sent if node.cloud.curation else 0
        events_bytes = node.cloud.uplink.traffic.bytes if node.cloud.uplink else 0
        counts: list[tuple[Any, float]] = [(metrics.failures, health.failures)]
        counts += [(metrics.given_up.labels(name), count) for name, count in node.outbox.dropped.items()]
        counts.append((metrics.sent_bytes.labels("samples"), samples_bytes))
        counts.append((metrics.sent_bytes.labels("events"), events_bytes))
        if node.cloud.update_client is not None:
            refusals = node.cloud.update_client.refusals
            counts += [(metrics.refusals.labels(reason), count) for reason, count in refusals.items()]
        with self._scraping:
            for counter, total in counts:
                counter.inc(max(0.0, total - self._counted.get(id(counter), 0.0)))
                self._counted[id(counter)] = max(total, self._counted.get(id(counter), 0.0))


def rss_bytes() -> int:
    """Resident memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
