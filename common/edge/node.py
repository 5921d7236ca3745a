"""One edge node: one process, a few threads, each with a purpose.

::

    source ──queue──> process ──commit──> outbox ──> uplink ──> the cloud
                         ^ │                            │ hint
                  offers │ └─samples─> curation         v
                         └──────────── ota <────────────┘         telemetry: /metrics, /healthz

``source``     reads the source; waits when the queue is full (a live source keeps only the newest)
``process``    decides and commits (`common.edge.processing.processing`)
``uplink``     sends and hears (`common.edge.delivery.uplink`); only with an enrolment
``ota``        looks for models (`common.edge.update.update_client`); only with an enrolment
``curation``   uploads samples (`common.edge.curation.curation`); only with an enrolment
``telemetry``  answers on loopback

A node works with no cloud at all. It may be started, stopped and killed in any order with the cloud: what it
has committed stays, and it goes on behind the last committed reading.
"""

from __future__ import annotations

import fcntl
import logging
import re
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from enum import Enum
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from common.app.edge import EdgeApp, EdgeContext, Reading, Source
from common.app.spec import AppSpec, find_app
from common.bundle import Bundle
from common.clock import Clock, NodeClock, latest_plausible_ns
from common.config.loader import convert
from common.config.node import Enrolment, NodeSettings
from common.connection import Address
from common.deployment import NodeTraits
from common.edge.curation.curation import Curation
from common.edge.delivery.alarm_outputs import outputs_of
from common.edge.delivery.earlier_times import mend_earlier_times, take_over
from common.edge.delivery.history import History
from common.edge.delivery.local_alarms import LocalAlarms, Origin
from common.edge.delivery.outbox import Outbox
from common.edge.delivery.uplink import Uplink
from common.edge.disk_wear import DiskWear, written_bytes
from common.edge.logs import set_up_logging
from common.edge.losses import FILE as LOSSES_FILE
from common.edge.losses import Losses
from common.edge.process_end import Ending, ProcessEnd
from common.edge.processing.processing import Processing
from common.edge.sensing.continued_source import continued
from common.edge.sensing.pseudonyms import keep_secret, pseudonym
from common.edge.sensing.recording import record
from common.edge.sensing.sources import ReadingQueue, open_source, parse_uri
from common.edge.telemetry import PORT_FILE, NodeMetrics, TelemetryServer
from common.edge.update.adoption import Adoption
from common.edge.update.slots import Slots
from common.edge.update.tuf_client import signed_until_ns
from common.edge.update.update_client import UpdateClient
from common.errors import ConfigError, ReadingError, SourceError
from common.messages import NAME_PATTERN, Event, Hint, Priority, Status, priority_of
from common.model.inference import OnnxModel, load_model
from common.model.load_test import load_proven
from common.model.profile import Profile, find_profile
from common.private import close_folder, restrict_new_files

log = logging.getLogger(__name__)

STARTED_TYPE = "edgeloop.node.started"
DATA_ENTRIES = (
    *("node.lock", PORT_FILE, "outbox.*", "enrolment.json", "deployment.json", "pseudonyms.secret"),
    *("history.*", "csv-files.json", "source.json", "local-alarms.json", "clock.json"),
    LOSSES_FILE,
    *("slots", "samples", "tuf"),
)
"""What a node keeps in its data folder."""
UNENROLLED_SITE = "local"
DRAIN_S = 5.0
"""How long a stopping node waits for the cloud to take what it has."""
SOURCE_RETRY_FIRST_S = 1.0
SOURCE_RETRY_LAST_S = 60.0
SILENT_S = 60.0
"""Silence of the process thread after which /healthz says that the node is not well."""
STUCK_S = 10.0
PROBLEM_CHARACTERS = 300
END_LOOK_S = 0.2


def run_node(
    settings: NodeSettings,
    enrolment: Enrolment | None,
    *,
    record: Path | None = None,
    once: bool = False,
    json_log: bool = False,
    watch: Callable[[Mapping[str, Any]], object] | None = None,
) -> int:
    """Run a node until SIGTERM or SIGINT (or, with ``once``, until its source has ended and all is sent).

    With ``once`` the exit code is 1 where the source gave nothing that could be used.
    ``record`` is a folder to write readings to; ``json_log`` logs JSON lines; ``watch`` is called with each
    event that was kept, as `common.edge.delivery.history.KeptEvent.facts`. Returns the exit code. A second
    signal ends the process at once. Raises `EdgeloopError` for what keeps the node from starting.
    """
    restrict_new_files()
    set_up_logging(json_log)
    ended = threading.Event()

    def asked_to_stop(number: int, _frame: Any) -> None:
        log.info("%s: draining", signal.Signals(number).name)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        ended.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, asked_to_stop)
    node = Node(
        settings,
        enrolment,
        find_app(settings.app),
        ended=ended,
        record_to=record,
        once=once,
        own_process=True,
        watch=watch,
    )
    node.start()
    ended.wait()
    return node.stop()


class SourceState(Enum):
    """What the source does, as health events tell it."""

    WAITING = "waiting"
    """It has given nothing yet."""
    READING = "reading"
    FAILED = "failed"
    """It is opened again until it works."""
    ENDED = "ended"


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

        ``watch`` is called with each event that was kept. ``own_process`` tells that this process is this
        node and nothing else.

        Raises `EdgeloopError` for what keeps the node from starting."""
        self.ended = ended or threading.Event()
        self._settings = settings
        self._enrolment = enrolment
        self._spec = spec
        self._record_to = record_to
        self._once = once
        self._watch = watch
        self._own_process = own_process
        self._end: ProcessEnd | None = None
        self._folder = Path(settings.data)
        self._clock = clock or NodeClock()
        self._failed: BaseException | None = None
        self._stopping = threading.Event()
        self._scraping = threading.Lock()
        self._counted: dict[int, float] = {}
        self._source_state = SourceState.WAITING
        self._source_detail = ""
        self._taken = 0
        self._useless = ""
        self.site = enrolment.site if enrolment else UNENROLLED_SITE
        self.name = enrolment.node if enrolment else _host_name()
        self.metrics = NodeMetrics()
        self._wear = DiskWear()
        self.check_now = threading.Event()
        self._telemetry: TelemetryServer | None = None
        self._threads: dict[str, threading.Thread] = {}
        with ExitStack() as opened:
            self._open(opened)
            self._opened = opened.pop_all()

    def _open(self, opened: ExitStack) -> None:
        settings, spec = self._settings, self._spec
        opened.enter_context(_claimed(self._folder, spec.name))
        (self._folder / PORT_FILE).unlink(missing_ok=True)
        if self._own_process:
            self._end = ProcessEnd(self._folder)
            opened.callback(self._end.close)
        if self._record_to is not None:
            self._record_to.mkdir(parents=True, exist_ok=True)
        self._secret = keep_secret(self._folder) if spec.pseudonyms else None
        self.profile = find_profile(settings.profile)
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
        self.adoption = Adoption(self.slots, self._create, settings.ota, self._clock)
        self.outbox = Outbox(
            self._folder / "outbox.sqlite",
            f"/{self.site}/{self.name}",
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
            f"/{self.site}/{self.name}",
            settings.history.budget_bytes,
            priority_of(settings.history.min_priority),
        )
        self.metrics.refresh = self._refresh_metrics
        self.queue = ReadingQueue(live=self.source.live)
        self.curation = self._make_curation()
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
            health=self._health_facts,
            committed=self._on_commit,
        )
        self.local_alarms = self._make_local_alarms()
        self.uplink = self._make_uplink()
        if self.uplink is not None:
            opened.callback(self.uplink.close)
        self.update_client = self._make_update_client()
        self.processing.restore()

    # --------------------------------------------------------------------------------- starting, ending

    def start(self) -> None:
        """Start the threads."""
        self.processing.tell(self._started_event())
        settings = self._settings.telemetry
        self._telemetry = TelemetryServer(
            self.metrics, self.healthz, settings.host, settings.port, self._folder
        )
        self.local_alarms.start(self.outbox.epoch, self.outbox.last_seq)
        self._run("process", self.processing.run)
        if self.uplink is not None:
            self._run("uplink", self.uplink.run)
        if self.update_client is not None:
            client = self.update_client
            self._run("update", lambda: client.run(self._stopping, self.check_now))
        if self.curation is not None and self._enrolment is not None:
            self._run("curation", self.curation.run)
        self._run("source", self._read)
        log.info(
            "node %s runs %s with model %s on %s; source %s; telemetry on port %d",
            self.name,
            self._spec.name,
            self.adoption.manifest.version,
            self.profile.name,
            self._settings.source,
            self._telemetry.port,
        )

    def stop(self) -> int:
        """Drain and end: the source, then what is queued, then the uplink. Returns the exit code."""
        self._stopping.set()
        self.check_now.set()
        self.source.close()
        self.queue.close()
        self._join("source")
        self.processing.stop()
        self._join("process")
        if self.curation is not None:
            self.curation.stop()
        if self.uplink is not None:
            self.uplink.stop(DRAIN_S)
        self.local_alarms.stop(DRAIN_S)
        for name in ("uplink", "curation", "update"):
            self._join(name)
        self.processing.look_for_losses()
        self.losses.save(at_once=True)
        if self._telemetry is not None:
            self._telemetry.close()
        if self._failed is None:
            self.slots.stopped_cleanly()
        elif self._end is not None:
            self._end.crashed(f"a thread failed: {self._failed!r}")
        (self._folder / PORT_FILE).unlink(missing_ok=True)
        self._opened.close()
        if self._failed is not None:
            log.error("the node ends because a thread failed: %s", self._failed)
            return 1
        if self._useless:
            log.error("%s", self._useless)
            return 1
        log.info("the node has stopped; %d events wait for the cloud", self.outbox.events)
        return 0

    def _run(self, name: str, body: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                body()
            except Exception as error:  # A node with a dead thread is worse than one that is restarted.
                log.exception("the thread %s failed", name)
                self._failed = error
                self.ended.set()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads[name] = thread
        thread.start()

    def _join(self, name: str) -> None:
        thread = self._threads.get(name)
        if thread is not None:
            thread.join(2 * DRAIN_S)
            if thread.is_alive():
                log.warning("the thread %s does not end", name)

    # --------------------------------------------------------------------------------- the source thread

    def _read(self) -> None:
        """Bring readings to the queue; a source that fails is opened again, behind its last reading."""
        after = self.outbox.position()
        begun = after is not None
        wait_s = SOURCE_RETRY_FIRST_S
        while not self._stopping.is_set():
            try:
                for item in self.source.readings(after):
                    if isinstance(item, Reading):
                        after, wait_s = item.position, SOURCE_RETRY_FIRST_S
                        self._source_state, self._source_detail = SourceState.READING, ""
                        if self._record_to is not None:
                            record(self._record_to, item)
                    self._taken += 1
                    if not self.queue.put(self._without_name(item)):
                        return
                break
            except (SourceError, OSError) as error:
                self._source_state, self._source_detail = SourceState.FAILED, self._tellable(error)
                self.processing.problems.add("source", self._source_detail, self.name)
                self._stopping.wait(wait_s)
                wait_s = min(SOURCE_RETRY_LAST_S, 2 * wait_s)
        if not self._stopping.is_set():
            self._after_the_end(begun=begun)

    def _without_name(self, item: Reading | ReadingError) -> Reading | ReadingError:
        if self._secret is None:
            return item
        if isinstance(item, Reading):
            return replace(item, subject=pseudonym(self._secret, item.subject))
        return ReadingError(self._tellable(item), item.kind, item.count)

    def _tellable(self, error: Exception) -> str:
        """What may leave the node of an error of the source, whose text may name a person."""
        if self._secret is None:
            return str(error)
        log.warning("the source: %s", error)
        return "the source gave something unusable; it may name a person, so only this node's log says what"

    def _after_the_end(self, *, begun: bool) -> None:
        """Tell that the source has ended; with ``once``, end the node when all is decided and sent.

        ``begun`` is whether an earlier run of the node had readings of this source.
        """
        processing = self.processing
        while processing.handled + self.queue.dropped < self._taken:
            processing.flush()
            if self._stopping.wait(END_LOOK_S):
                return
        refused = self._taken - self.queue.dropped - processing.usable
        ended = f"{processing.usable} readings were usable"
        if refused:
            ended += f", {refused} reports and refused readings"
        log.info("the source has ended: %s", ended)
        self._source_state, self._source_detail = SourceState.ENDED, ended
        processing.problems.add("ended", f"the source has ended: {ended}", self.name)
        processing.report_health()
        if not self._once:
            return
        if not processing.usable and (refused or not begun):
            self._useless = "the source gave nothing usable: " + (
                f"{refused} readings were refused, see above" if refused else "it has no reading"
            )
        elif not processing.usable:
            log.info("nothing is new behind position %s", self.outbox.position())
        while not self._stopping.wait(END_LOOK_S):
            sent = self.uplink is None or not self.outbox.events
            uploaded = self.curation is None or self._enrolment is None or not self.curation.waiting
            if sent and uploaded:
                self.ended.set()
                return

    # --------------------------------------------------------------------------------------- the parts

    def _create(self, bundle: Bundle, changes: Mapping[str, Any]) -> tuple[EdgeApp, OnnxModel]:
        tree = {**self._settings.settings, **changes}
        app_settings = convert(self._spec.settings, tree, f"settings of {self._spec.name}")
        model = load_model(bundle, self.profile)
        return self._spec.load_edge()(EdgeContext(app_settings, model)), model

    def _make_curation(self) -> Curation | None:
        if not self._settings.curation.enabled:
            return None
        return Curation(
            self._folder / "samples", self._spec.name, self._enrolment, self._settings.curation, self._clock
        )

    def _make_local_alarms(self) -> LocalAlarms:
        settings, spec = self._settings.local_alarms, self._spec
        origin = Origin(self.name, self.site, spec.name, self.source.virtual, spec.alarm_ends)
        return LocalAlarms(
            outputs_of(settings), settings, origin, self._folder, self._clock, self.processing.tell
        )

    def _make_uplink(self) -> Uplink | None:
        if self._enrolment is None:
            return None
        return Uplink(
            self._enrolment,
            self.outbox,
            self._settings.uplink,
            self._clock,
            status=self._status,
            check_now=self.check_now.set,
            hint=self._take_hint,
            report=self.processing.tell,
        )

    def _make_update_client(self) -> UpdateClient | None:
        if self._enrolment is None:
            return None
        traits = NodeTraits(
            node=self.name,
            site=self.site,
            profile=self.profile.name,
            tags=(*self.profile.tags, *self._settings.tags),
        )
        profile: Profile = self.profile
        return UpdateClient(
            self._folder / "tuf",
            self._enrolment,
            self._spec.name,
            traits,
            self._settings.ota,
            self.slots,
            self.adoption,
            lambda bundle: load_proven(bundle, profile),
            clock=self._clock,
            broker_moved=self._follow_broker,
            reserve_bytes=lambda: self.outbox.room_bytes,
        )

    def _follow_broker(self, broker: Address) -> None:
        if self.uplink is not None:
            self.uplink.broker = broker

    def _take_hint(self, hint: Hint) -> None:
        if self.update_client is not None and self.update_client.requests.submit(hint):
            self.check_now.set()

    def _on_commit(self, events: Sequence[Event], last_seq: int) -> None:
        epoch = self.outbox.epoch
        self._history.add(events, epoch, last_seq)
        self.local_alarms.offer(events, epoch, last_seq)
        if self._watch is not None:
            for facts in self._history.facts(events, epoch, last_seq):
                self._watch(facts)
        if self.uplink is not None:
            self.uplink.wake()

    # ------------------------------------------------------------------------------------- what it tells

    def _status(self) -> Status:
        return Status("online", self._spec.name, self.adoption.manifest.version)

    def _started_event(self) -> Event:
        state = self.slots.state
        facts = {
            "version": state.version,
            "slot": state.live,
            "profile": self.profile.name,
            "provider": self.profile.providers[0],
            "app": self._spec.name,
            "virtual": self.source.virtual,
            "source": parse_uri(self._settings.source).scheme,
            "tags": [*self.profile.tags, *self._settings.tags],
            "site": self.site,
            "edgeloop": installed_version("edgeloop"),
            "ended": self._end.previous if self._end is not None else "",
            "python": sys.version.split()[0],
        }
        return Event(STARTED_TYPE, self.name, self._clock(), Priority.EVENT, facts)

    def _health_facts(self) -> dict[str, Any]:
        """What a health event tells beside what the process thread knows."""
        sent = self.uplink.traffic.bytes if self.uplink else 0
        uploaded = self.curation.bytes_sent if self.curation else 0
        written = written_bytes()
        self._wear.add(time.monotonic(), written)
        self._adjust_clock()
        problems = self._problems()
        return {
            "rss_bytes": rss_bytes(),
            "cpu_s": round(time.process_time(), 2),
            "bytes_written": written,
            "bytes_written_per_day": self._wear.bytes_per_day,
            "bytes_sent": sent + uploaded,
            "connected": self.uplink is not None and self.uplink.connected,
            "messages_rejected": self.uplink.traffic.rejected if self.uplink else 0,
            "batches_limited": self.uplink.traffic.limited if self.uplink else 0,
            "limited": self.uplink is not None and self.uplink.limited,
            "identity_shared": self.uplink is not None and self.uplink.shared,
            "epochs_left": self.uplink.traffic.epochs_left if self.uplink else 0,
            "samples_waiting": self.curation.waiting if self.curation else 0,
            "source_state": self._source_state.value,
            "source_detail": self._source_detail[:500],
            "local_alarms_waiting": self.local_alarms.waiting,
            "local_alarms_problem": self.local_alarms.problem[:500],
            "rollout": self.slots.state.rollout,
            "ok": not problems,
            "problems": [problem[:PROBLEM_CHARACTERS] for problem in problems],
            **({"updates": self.update_client.facts()} if self.update_client is not None else {}),
        }

    def _adjust_clock(self) -> None:
        """Take over the system's clock once it is set, and mend what was stamped before."""
        if isinstance(self._clock, NodeClock):
            detail = take_over(self._folder, self.outbox, self._clock)
            if detail:
                self.processing.problems.add("clock", detail, self.name)

    def _refresh_metrics(self) -> None:
        """Bring the metrics up to date that are not counted as it happens. Runs for each scrape."""
        metrics, health = self.metrics, self.adoption.health()
        metrics.outbox_events.set(self.outbox.events)
        metrics.outbox_bytes.set(self.outbox.size_bytes)
        metrics.connected.set(self.uplink is not None and self.uplink.connected)
        metrics.drift.set(self.processing.drifting)
        metrics.model.clear()
        metrics.model.labels(health.version, health.slot, health.step).set(1)
        counts: list[tuple[Any, float]] = [(metrics.failures, health.failures)]
        counts += [(metrics.given_up.labels(name), count) for name, count in self.outbox.dropped.items()]
        counts.append(
            (metrics.sent_bytes.labels("samples"), self.curation.bytes_sent if self.curation else 0)
        )
        counts.append((metrics.sent_bytes.labels("events"), self.uplink.traffic.bytes if self.uplink else 0))
        if self.update_client is not None:
            counts += [
                (metrics.refusals.labels(reason), n) for reason, n in self.update_client.refusals.items()
            ]
        with self._scraping:
            for counter, total in counts:
                counter.inc(max(0.0, total - self._counted.get(id(counter), 0.0)))
                self._counted[id(counter)] = max(total, self._counted.get(id(counter), 0.0))

    def _problems(self) -> list[str]:
        """What keeps the node from being healthy, in words."""
        now_s = time.monotonic()
        stuck_since_s = self.processing.stuck_since_s
        stuck_s = now_s - stuck_since_s if stuck_since_s is not None else 0.0
        silent_s = now_s - self.processing.alive_s
        health = self.adoption.health()
        refused = self.processing.refused
        update = self.update_client.problem if self.update_client is not None else None
        update_problem = f"{update.reason}, {update}" if update and update.reason != "unreachable" else ""
        faults = [
            text
            for bad, text in (
                (stuck_s > STUCK_S, f"nothing could be kept for {stuck_s:.0f} s"),
                (silent_s > SILENT_S, f"the process thread has been silent for {silent_s:.0f} s"),
                (
                    self._source_state is SourceState.FAILED,
                    f"the source fails: {self._source_detail}",
                ),
                (
                    bool(self.local_alarms.problem),
                    f"alarms are not sent at the machine: {self.local_alarms.problem}",
                ),
                (
                    self.uplink is not None and self.uplink.shared,
                    "another device uses this node's identity",
                ),
                (not health.soak_ok, f"the model {health.version} fails in its soak"),
                (refused.subjects > 0, f"{refused.subjects} subjects are refused: {refused.detail}"),
                (bool(update_problem), f"no update can be trusted: {update_problem}"),
            )
            if bad
        ]
        return faults + self.losses.problems()

    def healthz(self) -> tuple[bool, dict[str, Any]]:
        """Whether the node does its work and has lost nothing for a day, and the facts behind that."""
        problems, health = self._problems(), self.adoption.health()
        return not problems, {
            "problems": problems,
            "node": self.name,
            "site": self.site,
            "app": self._spec.name,
            "version": health.version,
            "step": health.step,
            "virtual": self.source.virtual,
            "connected": self.uplink is not None and self.uplink.connected,
            "source_state": self._source_state.value,
            "source_detail": self._source_detail,
            "local_alarms_waiting": self.local_alarms.waiting,
            "outbox_events": self.outbox.events,
            "epoch": self.outbox.epoch,
            "acked_seq": self.outbox.acked_seq,
            "readings": health.readings,
            "dropped": self.queue.dropped,
        }


def rss_bytes() -> int:
    """Resident memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _host_name() -> str:
    """This host's name as a node's name."""
    name = re.sub(r"[^a-z0-9._-]", "-", socket.gethostname().lower()).lstrip("._-")[:63]
    return name if NAME_PATTERN.fullmatch(name) else "node"


@contextmanager
def _claimed(folder: Path, app: str) -> Generator[None]:
    """Keep other nodes, and nodes of other apps, out of ``folder``. Raises `ConfigError`."""
    try:
        close_folder(folder, DATA_ENTRIES)
        file = (folder / "node.lock").open("a+")
    except OSError as error:
        raise ConfigError(f"the data folder {folder} cannot be used: {error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"another node runs in {folder}: give each its own --data") from None
        file.seek(0)
        before = file.read().strip()
        if before and before != app:
            raise ConfigError(
                f"{folder} holds a node of the app {before!r}, not {app!r}: give another --data"
            )
        if not before:
            file.write(f"{app}\n")
            file.flush()
        yield
