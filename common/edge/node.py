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

A node works with no cloud at all. It may be started, stopped and killed in any order with the cloud: what it
has committed stays, and it continues behind the last committed reading.
"""

from __future__ import annotations

import logging
import re
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from common.app.edge import EdgeApp, EdgeContext, Source
from common.app.spec import AppSpec
from common.bundle import Bundle
from common.clock import Clock, NodeClock, latest_plausible_ns
from common.config.loader import convert
from common.config.node import Enrolment, NodeSettings
from common.connection import Address
from common.deployment import NodeTraits
from common.edge.curation.curation import Curation
from common.edge.data_folder import claimed
from common.edge.delivery.alarm_outputs import outputs_of
from common.edge.delivery.earlier_times import mend_earlier_times, take_over
from common.edge.delivery.history import History
from common.edge.delivery.local_alarms import LocalAlarms, Origin
from common.edge.delivery.outbox import Outbox
from common.edge.delivery.uplink import Uplink
from common.edge.losses import Losses
from common.edge.node_health import NodeHealth
from common.edge.process_end import Ending, ProcessEnd
from common.edge.processing.processing import Processing
from common.edge.sensing.continued_source import continued
from common.edge.sensing.pseudonyms import keep_secret
from common.edge.sensing.source_reader import SourceReader
from common.edge.sensing.sources import ReadingQueue, open_source, parse_uri
from common.edge.telemetry import PORT_FILE, NodeMetrics, TelemetryServer
from common.edge.threads import NodeThreads
from common.edge.update.adoption import Adoption
from common.edge.update.slots import Slots
from common.edge.update.tuf_client import signed_until_ns
from common.edge.update.update_client import UpdateClient
from common.messages import NAME_PATTERN, Event, Hint, Priority, Status, priority_of
from common.model.inference import OnnxModel, load_model
from common.model.load_test import load_proven
from common.model.profile import Profile, find_profile

log = logging.getLogger(__name__)

STARTED_TYPE = "edgeloop.node.started"
UNENROLLED_SITE = "local"
JOIN_S = 10.0
"""Longest wait for a thread to end; for the uplink, in addition to its drain."""


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
        self._watch = watch
        self._end: ProcessEnd | None = None
        self._folder = Path(settings.data)
        self._clock = clock or NodeClock()
        self._stopping = threading.Event()
        self.site = enrolment.site if enrolment else UNENROLLED_SITE
        self.name = enrolment.node if enrolment else _host_name()
        self.metrics = NodeMetrics()
        self.check_now = threading.Event()
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
            self._open_processing(record_to, once=once)
            self._connect_to_cloud(opened)
            self.processing.restore()
            self._opened = opened.pop_all()

    # ------------------------------------------------------------------------------------- the parts

    def _open_models(self, opened: ExitStack) -> None:
        settings, spec = self._settings, self.spec
        self.profile: Profile = find_profile(settings.profile)
        self.source: Source = open_source(settings.source, spec, settings.speed, self._folder)
        opened.callback(self.source.close)
        self.slots = Slots(
            self._folder / "slots",
            spec.name,
            spec.starter,
            crash_limit=settings.ota.crash_limit,
            clock=self._clock,
            killed=self._end is not None and self._end.previous is Ending.KILLED,
        )
        self.losses = Losses(self._folder, self._clock)
        self.adoption = Adoption(self.slots, self._create_app, settings.ota, self._clock)

    def _create_app(self, bundle: Bundle, changes: Mapping[str, Any]) -> tuple[EdgeApp, OnnxModel]:
        tree = {**self._settings.settings, **changes}
        app_settings = convert(self.spec.settings, tree, f"settings of {self.spec.name}")
        model = load_model(bundle, self.profile)
        return self.spec.load_edge()(EdgeContext(app_settings, model)), model

    def _open_delivery(self, opened: ExitStack) -> None:
        settings, source = self._settings, f"/{self.site}/{self.name}"
        self.outbox = Outbox(
            self._folder / "outbox.sqlite",
            source,
            settings.outbox.budget_bytes,
            self._clock,
            stream=settings.source,
        )
        opened.callback(self.outbox.close)
        if isinstance(self._clock, NodeClock):
            signed_ns = signed_until_ns(self._folder / "tuf")
            self._clock.latest_ns = latest_plausible_ns(settings.clock.horizon_days * 86400, signed_ns)
            mend_earlier_times(self._folder, self.outbox, self._clock)
        self.source = continued(self.source, settings.source, self._folder, self.outbox.position())
        self._history = History(
            self._folder,
            source,
            settings.history.budget_bytes,
            priority_of(settings.history.min_priority),
        )

    def _open_processing(self, record_to: Path | None, *, once: bool) -> None:
        settings, spec = self._settings, self.spec
        self.queue = ReadingQueue(live=self.source.live)
        self.curation = self._make_curation()
        self.health = NodeHealth(self, self.metrics, self._check_clock)
        self.metrics.refresh = self.health.refresh_metrics
        self.processing = Processing(
            self.queue,
            self.adoption,
            self.outbox,
            self.curation,
            self.metrics,
            self.losses,
            self._clock,
            node=self.name,
            virtual=self.source.virtual,
            health_s=settings.telemetry.health_s,
            commit_interval_s=settings.outbox.commit_interval_s,
            checkpoint_s=settings.outbox.checkpoint_s,
            health=self.health.event_data,
            committed=self._on_commit,
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
            delivered=self._is_delivered,
        )
        self.local_alarms = LocalAlarms(
            outputs_of(settings.local_alarms),
            settings.local_alarms,
            Origin(self.name, self.site, spec.name, self.source.virtual, spec.alarm_ends),
            self._folder,
            self._clock,
            self.processing.platform.report,
        )

    def _make_curation(self) -> Curation | None:
        settings = self._settings.curation
        if not settings.enabled:
            return None
        return Curation(self._folder / "samples", self.spec.name, self._enrolment, settings, self._clock)

    def _connect_to_cloud(self, opened: ExitStack) -> None:
        self.uplink: Uplink | None = None
        self.update_client: UpdateClient | None = None
        if self._enrolment is None:
            return
        uplink = self.uplink = Uplink(
            self._enrolment,
            self.outbox,
            self._settings.uplink,
            self._clock,
            status=lambda: Status("online", self.spec.name, self.adoption.manifest.version),
            check_now=self.check_now.set,
            hint=self._take_hint,
            report=self.processing.platform.report,
        )
        opened.callback(uplink.close)

        def move_broker(broker: Address) -> None:
            uplink.broker = broker

        tags = (*self.profile.tags, *self._settings.tags)
        self.update_client = UpdateClient(
            self._folder / "tuf",
            self._enrolment,
            self.spec.name,
            NodeTraits(node=self.name, site=self.site, profile=self.profile.name, tags=tags),
            self._settings.ota,
            self.slots,
            self.adoption,
            lambda bundle: load_proven(bundle, self.profile),
            clock=self._clock,
            broker_moved=move_broker,
            reserve_bytes=lambda: self.outbox.room_bytes,
        )

    # ------------------------------------------------------------------------------ starting, ending

    def start(self) -> None:
        """Start the threads."""
        self.processing.platform.report(self._started_event())
        settings, threads = self._settings.telemetry, self._threads
        self._telemetry = TelemetryServer(
            self.metrics, self.health.healthz, settings.host, settings.port, self._folder
        )
        self.local_alarms.start(self.outbox.epoch, self.outbox.last_seq)
        threads.start("process", self.processing.run)
        if self.uplink is not None:
            threads.start("uplink", self.uplink.run)
        if self.update_client is not None:
            client = self.update_client
            threads.start("update", lambda: client.run(self._stopping, self.check_now))
        if self.curation is not None and self._enrolment is not None:
            threads.start("curation", self.curation.run)
        threads.start("source", lambda: self.reader.run(self.outbox.position()))
        log.info(
            "node %s runs %s with model %s on %s; source %s; telemetry on port %d",
            self.name,
            self.spec.name,
            self.adoption.manifest.version,
            self.profile.name,
            self._settings.source,
            self._telemetry.port,
        )

    def stop(self) -> int:
        """Drain and end: the source, then the queue, then the uplink. Returns the exit code."""
        threads, drain_s = self._threads, self._settings.uplink.drain_s
        self._stopping.set()
        self.check_now.set()
        self.source.close()
        self.queue.close()
        threads.join("source", JOIN_S)
        self.processing.stop()
        threads.join("process", JOIN_S)
        if self.curation is not None:
            self.curation.stop()
        if self.uplink is not None:
            self.uplink.stop(drain_s)
        self.local_alarms.stop(drain_s)
        threads.join("uplink", drain_s + JOIN_S)
        for name in ("curation", "update"):
            threads.join(name, JOIN_S)
        self.processing.platform.count_losses()
        self.losses.save(at_once=True)
        if self._telemetry is not None:
            self._telemetry.close()
        if threads.failed is None:
            self.slots.stopped_cleanly()
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
        epoch = self.outbox.epoch
        self._history.add(events, epoch, last_seq)
        self.local_alarms.offer(events, epoch, last_seq)
        if self._watch is not None:
            for facts in self._history.facts(events, epoch, last_seq):
                self._watch(facts)
        if self.uplink is not None:
            self.uplink.wake()

    def _is_delivered(self) -> bool:
        sent = self.uplink is None or not self.outbox.events
        return sent and (self.curation is None or self._enrolment is None or not self.curation.waiting)

    def _take_hint(self, hint: Hint) -> None:
        if self.update_client is not None and self.update_client.requests.submit(hint):
            self.check_now.set()

    def _check_clock(self) -> None:
        """Take over the system's clock once it is set, and correct earlier times."""
        if isinstance(self._clock, NodeClock):
            detail = take_over(self._folder, self.outbox, self._clock)
            if detail:
                self.processing.platform.problems.add("clock", detail, self.name)

    def _started_event(self) -> Event:
        state = self.slots.state
        facts = {
            "version": state.version,
            "slot": state.live,
            "profile": self.profile.name,
            "provider": self.profile.providers[0],
            "app": self.spec.name,
            "virtual": self.source.virtual,
            "source": parse_uri(self._settings.source).scheme,
            "tags": [*self.profile.tags, *self._settings.tags],
            "site": self.site,
            "edgeloop": installed_version("edgeloop"),
            "ended": self._end.previous if self._end is not None else "",
            "python": sys.version.split()[0],
        }
        return Event(STARTED_TYPE, self.name, self._clock(), Priority.EVENT, facts)


def _host_name() -> str:
    """This host's name as a node's name."""
    name = re.sub(r"[^a-z0-9._-]", "-", socket.gethostname().lower()).lstrip("._-")[:63]
    return name if NAME_PATTERN.fullmatch(name) else "node"
