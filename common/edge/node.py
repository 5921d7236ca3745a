"""One edge node: one process, a few threads, each with a purpose.

::

    source ──queue──> process ──commit──> outbox ──> uplink ──> the cloud
                         ^ │                            │ hint
                  offers │ └─samples─> curation         v
                         └────────── update <───────────┘         telemetry: /metrics, /healthz

``source``     reads the source (`common.edge.sensing.source_reader`); waits when the queue is full (a live
               source keeps only the newest)
``process``    decides and commits (`common.edge.processing.processing`)
``uplink``     sends and receives (`common.edge.delivery.uplink`); only with an enrolment
``update``     finds models (`common.edge.update.update_client`); only with an enrolment
``curation``   uploads samples (`common.edge.curation.curation`); only with an enrolment
``telemetry``  answers on loopback (`common.edge.node_health`)

`common.edge.cloud_link` has the three threads of an enrolled node, `common.edge.node_models` the models.

A node works with no cloud at all. It may be started, stopped and killed in any order with the cloud: what it
has committed stays, and it continues behind the last committed reading.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from common.app.edge import Source
from common.app.spec import AppSpec
from common.clock import Clock, NodeClock, latest_plausible_ns
from common.config.node import Enrolment, NodeSettings
from common.edge.cloud_link import CloudLink
from common.edge.data_folder import claimed
from common.edge.delivery.earlier_times import ClockWatch
from common.edge.delivery.local_alarms import Origin
from common.edge.delivery.local_delivery import LocalDelivery
from common.edge.delivery.outbox import Outbox
from common.edge.losses import Losses
from common.edge.node_health import NodeHealth
from common.edge.node_models import NodeModels
from common.edge.process_end import Ending, ProcessEnd
from common.edge.processing.processing import Processing
from common.edge.processing.reading_queue import ReadingQueue
from common.edge.sensing.pseudonyms import keep_secret
from common.edge.sensing.several_sources import combine, open_sources
from common.edge.sensing.source_reader import SourceReader
from common.edge.telemetry import PORT_FILE, NodeMetrics, TelemetryServer
from common.edge.threads import JOIN_S, NodeThreads
from common.edge.update.tuf_client import signed_until_ns
from common.messages import NAME_PATTERN, Event, Priority

log = logging.getLogger(__name__)

STARTED_TYPE = "edgeloop.node.started"
UNENROLLED_SITE = "local"


class Node:
    """A node and its threads. ``ended`` is set when it should be stopped."""

    def __init__(
        self,
        settings: NodeSettings,
        enrolment: Enrolment | None,
        spec: AppSpec,
        *,
        ended: threading.Event | None = None,
        record_to: Path | None = None,
        once: bool = False,
        own_process: bool = False,
        clock: Clock | None = None,
        watch: Callable[[Mapping[str, Any]], object] | None = None,
    ) -> None:
        """Open everything.

        ``watch`` is called with each committed event. ``own_process``: this process is this node and nothing
        else. Raises `EdgeloopError` if the node cannot start."""
        self.ended = ended or threading.Event()
        self.spec = spec
        self._settings = settings
        self._enrolment = enrolment
        self._end: ProcessEnd | None = None
        self._folder = Path(settings.data)
        self._clock = clock or NodeClock()
        self._stopping = threading.Event()
        self.site = enrolment.site if enrolment else UNENROLLED_SITE
        self.name = enrolment.node if enrolment else _host_name()
        self.metrics = NodeMetrics()
        self._telemetry: TelemetryServer | None = None
        self._threads = NodeThreads(self.ended)
        with ExitStack() as opened:
            opened.enter_context(claimed(self._folder, spec.name))
            (self._folder / PORT_FILE).unlink(missing_ok=True)
            if own_process:
                self._end = ProcessEnd(self._folder)
                opened.callback(self._end.close)
            if record_to is not None:
                record_to.mkdir(parents=True, exist_ok=True)
            self._open_models(opened)
            self._open_delivery(opened)
            self._open_processing(opened, record_to, watch, once=once)
            self.processing.restore()
            self._opened = opened.pop_all()

    # ------------------------------------------------------------------------------------- the parts

    def _open_models(self, opened: ExitStack) -> None:
        settings, spec = self._settings, self.spec
        self._sources = opened.enter_context(open_sources(settings, spec, self._folder))
        killed = self._end is not None and self._end.previous is Ending.KILLED
        self.models = NodeModels(settings, spec, self._folder, self._clock, killed=killed)
        self.losses = Losses(self._folder, self._clock)

    def _open_delivery(self, opened: ExitStack) -> None:
        settings, source = self._settings, f"/{self.site}/{self.name}"
        self.outbox = Outbox(
            self._folder / "outbox.sqlite",
            source,
            settings.outbox.budget_bytes,
            self._clock,
            stream="\n".join(each.name for each in self._sources),
        )
        opened.callback(self.outbox.close)
        horizon_s, signed_ns = settings.clock.horizon_days * 86400, signed_until_ns(self._folder / "tuf")
        latest_ns = latest_plausible_ns(horizon_s, signed_ns)
        self._clock_watch = ClockWatch(self._folder, self.outbox, self._clock, latest_ns)
        self.source: Source = combine(self._sources, self._folder, self.outbox.position())

    def _open_processing(
        self,
        opened: ExitStack,
        record_to: Path | None,
        watch: Callable[[Mapping[str, Any]], object] | None,
        *,
        once: bool,
    ) -> None:
        settings, spec = self._settings, self.spec
        self.queue = ReadingQueue(live=self.source.live)
        self.cloud = CloudLink(
            self._enrolment,
            settings,
            self._folder,
            spec.name,
            self.models,
            self.outbox,
            self._clock,
            report=lambda event: self.processing.platform.report(event),
        )
        opened.callback(self.cloud.close)
        self.health = NodeHealth(self, self.metrics, self._check_clock)
        self.metrics.refresh = self.health.refresh_metrics
        self.processing = Processing(
            self.queue,
            self.models.adoption,
            self.outbox,
            self.cloud.curation,
            self.metrics,
            self.losses,
            self._clock,
            node=self.name,
            virtual=self.source.virtual,
            health_interval_s=settings.telemetry.health_interval_s,
            commit_interval_s=settings.outbox.commit_interval_s,
            checkpoint_interval_s=settings.outbox.checkpoint_interval_s,
            health=self.health.event_data,
            committed=self._on_commit,
        )
        self.local_delivery = LocalDelivery(
            self._folder,
            settings,
            Origin(self.name, self.site, spec.name, self.source.virtual, spec.alarm_ends),
            self.outbox,
            self._clock,
            report=self.processing.platform.report,
            watch=watch,
        )
        self.reader = SourceReader(
            self.source,
            self.queue,
            self.processing,
            self._stopping,
            self.ended,
            node=self.name,
            secret=keep_secret(self._folder) if spec.pseudonyms else None,
            record_to=record_to,
            once=once,
            delivered=lambda: self.cloud.delivered,
        )

    # ------------------------------------------------------------------------------ starting, ending

    def start(self) -> None:
        """Start the threads."""
        facts = self.health.started_data(self._settings, self._end.previous if self._end is not None else "")
        self.processing.platform.report(Event(STARTED_TYPE, self.name, self._clock(), Priority.EVENT, facts))
        settings, threads = self._settings.telemetry, self._threads
        self._telemetry = TelemetryServer(
            self.metrics, self.health.healthz, settings.host, settings.port, self._folder
        )
        self.local_delivery.start()
        threads.start("process", self.processing.run)
        self.cloud.start(threads)
        threads.start("source", lambda: self.reader.run(self.outbox.position()))
        log.info(
            "node %s runs %s with model %s on %s; source %s; telemetry on port %d",
            self.name,
            self.spec.name,
            self.models.version,
            self.models.profile.name,
            ", ".join(each.name for each in self._sources),
            self._telemetry.port,
        )

    def stop(self) -> int:
        """Drain and end: the source, then the queue, then the uplink. Returns the exit code."""
        threads = self._threads
        self._stopping.set()
        self.cloud.stop_updates()
        self.source.close()
        self.queue.close()
        threads.join("source", JOIN_S)
        self.processing.stop()
        threads.join("process", JOIN_S)
        self.cloud.stop()
        self.local_delivery.stop(self._settings.uplink.drain_timeout_s)
        self.cloud.join(threads)
        self.processing.platform.count_losses()
        self.losses.save(at_once=True)
        if self._telemetry is not None:
            self._telemetry.close()
        if threads.failed is None:
            self.models.slots.stopped_cleanly()
        elif self._end is not None:
            self._end.crashed(f"a thread failed: {threads.failed!r}")
        (self._folder / PORT_FILE).unlink(missing_ok=True)
        self._opened.close()
        if threads.failed is not None:
            log.error("the node ends because a thread failed: %s", threads.failed)
            return 1
        if self.reader.useless:
            log.error("%s", self.reader.useless)
            return 1
        log.info("the node has stopped; %d events wait for the cloud", self.outbox.events)
        return 0

    # ---------------------------------------------------------------------------- between the parts

    def _on_commit(self, events: Sequence[Event], last_seq: int) -> None:
        self.local_delivery.take(events, last_seq)
        self.cloud.wake()

    def _check_clock(self) -> None:
        detail = self._clock_watch.check()
        if detail:
            self.processing.platform.problems.add("clock", detail, self.name)


def _host_name() -> str:
    """This host's name as a node's name."""
    name = re.sub(r"[^a-z0-9._-]", "-", socket.gethostname().lower()).lstrip("._-")[:63]
    return name if NAME_PATTERN.fullmatch(name) else "node"
