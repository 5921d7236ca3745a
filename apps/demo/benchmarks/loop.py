"""The measurements behind ``edgeloop bench loop``, each with real processes.

The loop is watched from outside: the cloud's database is read (how far each stream is committed), and
CPU time comes from the kernel. Its limits are measured with what the loop itself used: a real batch that
was received from the node is sent through the same broker, and rows that the cloud had stored are
inserted again, into a new file with the same schema. The loop itself is measured with the meter
(`apps.demo.benchmarks.meter`), whose events cost next to nothing to decide on; the same loop with the
industrial app is measured beside it, and that app without the loop.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import urllib3

from apps.demo.benchmarks.meter import VALUES
from apps.demo.world.network import Rewrite
from apps.demo.world.processes import Children, ShowError, wait_until
from apps.demo.world.stage import SOAK_S
from apps.demo.world.world import CloudSite, EdgeNode, Settings
from common import bundle as bundles
from common.app.edge import EdgeContext
from common.app.spec import find_app
from common.bundle import Bundle, open_bundle
from common.config.node import OutboxSettings
from common.edge.disk_wear import DAY_S, written_bytes
from common.messages import Event, decode_batch
from common.sealing import TAG_BYTES

APP = "industrial"
SITE = "bench"
AHEAD_READINGS = 500
"""How far the meter may be ahead of what is committed."""
PACE_S = 0.02
OVERHEARD = 50
"""Batches of the loop that are looked at, for their mean size."""
BATCHES = 400
"""Batches that go through the broker in one round."""
BARE_READINGS = 4000
"""Readings that go through the app alone in one round."""
BARE_EVENTS = 60_000
"""Rows that go into the bare database in one round."""
CLOUD_SETTINGS: Settings = {"rollout": {"soak_s": SOAK_S, "tick_s": 0.2}}
NODE_SETTINGS: Settings = {"telemetry": {"health_s": 10.0}}
ADOPTION_SETTINGS: Settings = {
    "ota": {"poll_s": 60.0, "shadow_readings": 20},
    "telemetry": {"health_s": 1.0},
}
ADOPTION_SPEED = 20.0
CONNECTIONS = 8
QUIET_S = 0.4
"""Silence after which a node's look for a deployment is over; far below the time between two looks."""
CLOUD_USER = "CLOUD"
"""The cloud's own user at its broker, with the password from its folder of secrets."""
LIMIT_TOPIC = f"edgeloop/v1/{SITE}/limit/echo"
"""A topic that nobody but the bench listens to."""


@dataclass(frozen=True, slots=True)
class Workload:
    """An app as a node is told of it, its virtual source, and how many events make its node warm."""

    app: str
    source: str
    warm_events: int


REST_SOURCES = {"industrial": "virtual:turbofan?seed=1", "ecg": "virtual:patient?seed=1"}
METER = Workload("apps.demo.benchmarks.meter:SPEC", "virtual:wave?name={name}&pace={pace}", 200_000)
INDUSTRIAL = Workload(APP, "virtual:turbofan?seed={number}&name={name}", 2000)


@dataclass(frozen=True, slots=True)
class LoopRun:
    """One node at full speed for a while, from ``process`` to committed in the cloud."""

    events_per_s: float
    transaction_events: float
    node_cpu_percent: float
    cloud_cpu_percent: float
    payloads: list[bytes]
    """Batches as they passed the broker."""

    @property
    def sizes(self) -> list[int]:
        """Events in each of ``payloads``."""
        return [len(decode_batch(payload[TAG_BYTES:]).events) for payload in self.payloads]


@dataclass(frozen=True, slots=True)
class Round:
    """One round: the loop with the meter and its two limits, then the loop with the industrial app."""

    loop_events_per_s: float
    broker_events_per_s: float
    database_events_per_s: float
    batch_events: float
    transaction_events: float
    node_cpu_percent: float
    cloud_cpu_percent: float
    industrial_events_per_s: float
    process_events_per_s: float


@dataclass(frozen=True, slots=True)
class CheckCost:
    """What many deployment checks that found nothing new cost."""

    nodes: int
    requests: int
    bytes_sent: int
    seconds: float
    cloud_cpu_s: float


@dataclass(frozen=True, slots=True)
class AdoptionTime:
    """From the request that publishes a deployment to the node's reports of it."""

    switched_s: float
    confirmed_s: float
    settings: str


@dataclass(slots=True)
class Tap:
    """Keeps what a node sends over HTTP, and counts what it is sent."""

    sent: bytearray = field(default_factory=bytearray)
    received: int = 0

    def connection(self) -> tuple[Rewrite, Rewrite]:
        return self._up, self._down

    def _up(self, chunk: bytes) -> bytes:
        self.sent += chunk
        return chunk

    def _down(self, chunk: bytes) -> bytes:
        self.received += len(chunk)
        return chunk


class Loop:
    """A cloud, and nodes as each measurement needs them; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._closing = ExitStack()
        self._children = Children(folder / "logs")
        self._cloud = CloudSite(self._children, folder / "cloud", settings=CLOUD_SETTINGS)
        self._made = 0

    def __enter__(self) -> Loop:
        self._closing.enter_context(self._children)
        self._cloud.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    # ------------------------------------------------------------------------------ the loop, and its limits

    def round(self, window_s: float) -> Round:
        """Measure the loop for ``window_s``, then the broker and the database with what it sent, then the
        industrial app in the same loop and alone."""
        meter = self._loop(METER, window_s)
        sizes = meter.sizes
        mean = sum(sizes) / len(sizes)
        typical = min(range(len(sizes)), key=lambda place: abs(sizes[place] - mean))
        broker = self._broker_alone(meter.payloads[typical], sizes[typical])
        database = self._database_alone(max(1, round(meter.transaction_events)))
        return Round(
            loop_events_per_s=meter.events_per_s,
            broker_events_per_s=broker,
            database_events_per_s=database,
            batch_events=mean,
            transaction_events=meter.transaction_events,
            node_cpu_percent=meter.node_cpu_percent,
            cloud_cpu_percent=meter.cloud_cpu_percent,
            industrial_events_per_s=self._loop(INDUSTRIAL, window_s).events_per_s,
            process_events_per_s=process_alone(self._made),
        )

    def _loop(self, workload: Workload, window_s: float) -> LoopRun:
        """One new node, measured once it is warm."""
        node = self._node(NODE_SETTINGS, app=workload.app)
        pace = self._folder / f"{node.name}.pace"
        source = workload.source.format(number=self._made, name=node.name, pace=pace)
        with self._pacing(node, pace):
            node.start(source, "--speed", "0")
            wait_until(
                lambda: self._committed(node) > workload.warm_events,
                what=f"{workload.warm_events} events of a warm node",
                timeout_s=60,
                failed=node.child.exit_report,
            )
            transactions, first, started = self._transactions(), self._committed(node), time.perf_counter()
            cpu = _cpu_s(node.child.pid), _cpu_s(self._cloud.child.pid)
            ends = started + window_s
            wait_until(lambda: time.perf_counter() > ends, what="the window", timeout_s=window_s + 10)
            last, seconds = self._committed(node), time.perf_counter() - started
            used = _cpu_s(node.child.pid) - cpu[0], _cpu_s(self._cloud.child.pid) - cpu[1]
            transactions = self._transactions() - transactions
            payloads = self._overheard(node)
        node.child.kill()
        node.child.reap()
        node.close()
        if self._given_up(node):
            raise ShowError(f"{node.name} has given up events in the measurement: its outbox was too small")
        return LoopRun(
            events_per_s=(last - first) / seconds,
            transaction_events=(last - first) / max(1, transactions),
            node_cpu_percent=100 * used[0] / seconds,
            cloud_cpu_percent=100 * used[1] / seconds,
            payloads=payloads,
        )

    @contextmanager
    def _pacing(self, node: EdgeNode, file: Path) -> Generator[None]:
        """Keep a node's source `AHEAD_READINGS` ahead of what is committed, by its pace file.

        A node gives events up rather than letting its source wait for the cloud; what is given up is not
        through the loop.
        """
        stop = threading.Event()

        def follow() -> None:
            while not stop.wait(PACE_S):
                allow(self._committed(node) // VALUES + AHEAD_READINGS)

        def allow(position: int) -> None:
            new = file.with_suffix(".new")
            new.write_text(str(position), "ascii")
            new.replace(file)

        allow(AHEAD_READINGS)
        thread = threading.Thread(target=follow, name="pace")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _overheard(self, node: EdgeNode) -> list[bytes]:
        """The next `OVERHEARD` batches of a node; behind the window, so that listening costs it nothing."""
        batches: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        with self._broker_client() as tap:
            tap.on_message = lambda _c, _u, message: batches.put(message.payload)
            tap.subscribe(f"edgeloop/v1/{SITE}/{node.name}/up", 0)
            try:
                return [batches.get(timeout=10) for _ in range(OVERHEARD)]
            except queue.Empty:
                raise ShowError("no batches are seen at the broker") from None

    def _broker_alone(self, payload: bytes, events: int) -> float:
        """Events a second, were the broker all there is: one client publishes, another receives."""
        arrived = threading.Semaphore(0)
        with self._broker_client() as receiver, self._broker_client() as sender:
            receiver.on_message = lambda *_: arrived.release()
            subscribed = threading.Event()
            receiver.on_subscribe = lambda *_: subscribed.set()
            receiver.subscribe(LIMIT_TOPIC, 1)
            if not subscribed.wait(10):
                raise ShowError("the broker does not take a subscription")
            started = time.perf_counter()
            for _ in range(BATCHES):
                sender.publish(LIMIT_TOPIC, payload, qos=1)
            for _ in range(BATCHES):
                if not arrived.acquire(timeout=30):
                    raise ShowError("the broker does not deliver what it was sent")
            return BATCHES * events / (time.perf_counter() - started)

    def _database_alone(self, rows_per_transaction: int) -> float:
        """Events a second, were the database all there is: stored rows inserted again, and nothing else."""
        source = self._folder / "cloud" / "cloud.sqlite"
        with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as connection:
            schema = connection.execute(
                "SELECT sql FROM sqlite_master WHERE tbl_name = 'event' AND sql <> ''"
            )
            statements = [row[0] for row in schema]
            # Newest rows first in the limit, but inserted in the order in which the loop had inserted them.
            query = "SELECT * FROM event WHERE stream_id = (SELECT max(id) FROM stream) ORDER BY seq LIMIT ?"
            rows = connection.execute(query, (BARE_EVENTS,)).fetchall()
        file = self._folder / f"bare-{time.monotonic_ns()}.sqlite"
        with closing(sqlite3.connect(file, isolation_level=None)) as bare:
            for pragma in ("journal_mode=WAL", "synchronous=FULL"):
                bare.execute(f"PRAGMA {pragma}")
            for statement in sorted(statements, key=lambda each: "INDEX" in each.upper().split("(")[0]):
                bare.execute(statement)
            insert = f"INSERT INTO event VALUES ({', '.join('?' * len(rows[0]))})"  # noqa: S608  no input
            started = time.perf_counter()
            for first in range(0, len(rows), rows_per_transaction):
                bare.execute("BEGIN IMMEDIATE")
                bare.executemany(insert, rows[first : first + rows_per_transaction])
                bare.execute("COMMIT")
            seconds = time.perf_counter() - started
        file.unlink()
        return len(rows) / seconds

    # -------------------------------------------------------------------------------------------- others

    def node_at_rest(self, seconds: float) -> float:
        """CPU of a node with one engine at 1 Hz, in percent of a core."""
        node = self._node({})
        node.start(f"virtual:turbofan?seed={self._made}&name={node.name}")
        wait_until(
            lambda: self._committed(node) > 3,
            what="a node at rest",
            timeout_s=60,
            failed=node.child.exit_report,
        )
        used, started = _cpu_s(node.child.pid), time.perf_counter()
        wait_until(lambda: time.perf_counter() > started + seconds, what="rest", timeout_s=seconds + 10)
        percent = 100 * (_cpu_s(node.child.pid) - used) / (time.perf_counter() - started)
        node.stop()
        node.close()
        return percent

    def bytes_written_per_day(self, seconds: float) -> dict[str, float]:
        """What a node's process has written to disk, by app: one engine at 1 Hz, one patient at 360 Hz.

        Both run beside each other in real time, connected to the cloud, with a node's default settings.
        """
        settings = {"outbox": {"commit_interval_s": OutboxSettings().commit_interval_s}}
        nodes = {app: self._node(settings, app=app) for app in REST_SOURCES}
        for app, node in nodes.items():
            node.start(REST_SOURCES[app])
        for node in nodes.values():
            wait_until(
                lambda node=node: self._committed(node) > 3,
                what="a node at rest",
                timeout_s=120,
                failed=node.child.exit_report,
            )
        started, before = time.perf_counter(), {app: _written(node) for app, node in nodes.items()}
        wait_until(lambda: time.perf_counter() > started + seconds, what="rest", timeout_s=seconds + 10)
        after, took_s = {app: _written(node) for app, node in nodes.items()}, time.perf_counter() - started
        for node in nodes.values():
            node.stop()
            node.close()
        return {app: (after[app] - before[app]) / took_s * DAY_S for app in nodes}

    def deployment_checks(self, nodes: int) -> CheckCost:
        """What it costs that ``nodes`` nodes look once and find nothing new.

        One real node is watched while it does so; its very requests are then sent once for each node, over
        `CONNECTIONS` connections, to the same cloud.
        """
        tap = Tap()
        node = self._node({"ota": {"poll_s": 1.0}}, tap)
        node.start(f"virtual:turbofan?seed={self._made}&name={node.name}")
        ready = wait_until(
            lambda: self._look(tap), what="a look", timeout_s=60, failed=node.child.exit_report
        )
        # The first looks fetch metadata; the last of several is one that found nothing new.
        looks = [ready]
        for _ in range(2):
            looks.append(wait_until(lambda: self._look(tap), what="another look", timeout_s=30))
        node.stop()
        node.close()
        requests = looks[-1]
        pool = urllib3.PoolManager(maxsize=CONNECTIONS, block=True)
        url, sent, lock = self._cloud.file.http_url, [0], threading.Lock()
        left = list(range(nodes))

        def replay() -> None:
            while True:
                try:
                    left.pop()
                except IndexError:
                    return
                total = 0
                for path, headers in requests:
                    answer = pool.request("GET", url + path, headers=headers, retries=False)
                    if answer.status >= 500:
                        raise ShowError(f"{path}: {answer.status}")
                    head = sum(len(name) + len(value) + 4 for name, value in answer.headers.items()) + 19
                    total += len(answer.data) + head
                with lock:
                    sent[0] += total

        threads = [threading.Thread(target=replay, name=f"replay-{i}") for i in range(CONNECTIONS)]
        used, started = _cpu_s(self._cloud.child.pid), time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - started
        return CheckCost(nodes, nodes * len(requests), sent[0], seconds, _cpu_s(self._cloud.child.pid) - used)

    def adoption(self) -> AdoptionTime:
        """From the request that starts a rollout to ``switched`` and ``confirmed`` of one node."""
        node = self._node(ADOPTION_SETTINGS)
        node.start(f"virtual:turbofan?seed={self._made}&name={node.name}", "--speed", str(ADOPTION_SPEED))
        wait_until(
            lambda: self._committed(node) > 100, what="a node", timeout_s=60, failed=node.child.exit_report
        )
        with self._cloud.client() as client:
            version = "1.0.0-bench"
            client.send_bundle(APP, self._same_model(version))
            client.post(f"/v1/apps/{APP}/models", {"version": version})
            client.post(
                f"/v1/apps/{APP}/models/{version}/promote", {"by": "bench", "reason": "the same model again"}
            )
            asked: dict[str, Any] = {"version": version, "waves": [1.0], "constraint": {"nodes": [node.name]}}
            started = time.perf_counter()
            client.post(f"/v1/apps/{APP}/rollouts", asked)

            def reached(step: str) -> float | None:
                events = client.items(f"/v1/nodes/{node.name}/events", type="edgeloop.adoption", limit=500)
                told = any(e["data"]["step"] == step and e["data"]["version"] == version for e in events)
                return time.perf_counter() - started if told else None

            switched = wait_until(lambda: reached("switched"), what="switched", timeout_s=90)
            confirmed = wait_until(lambda: reached("confirmed"), what="confirmed", timeout_s=90)
        node.stop()
        node.close()
        shadow = ADOPTION_SETTINGS["ota"]["shadow_readings"]
        settings = (
            f"shadow of {shadow} readings at {ADOPTION_SPEED:g} Hz, soak of {SOAK_S:g} s, told by a hint "
            f"(polling every {ADOPTION_SETTINGS['ota']['poll_s']:g} s)"
        )
        return AdoptionTime(switched, confirmed, settings)

    # ------------------------------------------------------------------------------------------- private

    def _node(self, settings: Settings, tap: Tap | None = None, *, app: str = APP) -> EdgeNode:
        self._made += 1
        name = f"bench-{self._made}"
        node = EdgeNode(self._children, self._folder / name, name, app=app, settings=settings)
        node.enrol(self._cloud, SITE, rewrite_http=tap.connection if tap else None)
        return node

    def _broker_client(self) -> _BrokerClient:
        password = (self._cloud.folder / "secrets" / "mqtt-password").read_text("ascii").strip()
        return _BrokerClient(self._cloud.file.mqtt_host, self._cloud.file.mqtt_port, password)

    def _committed(self, node: EdgeNode) -> int:
        """How far the node's streams are committed, read beside the cloud."""
        return self._read("SELECT coalesce(sum(high_water_mark), 0) FROM stream WHERE node = ?", node.name)

    def _given_up(self, node: EdgeNode) -> int:
        """Gaps in the node's streams, as the cloud has stored them."""
        return self._read(
            "SELECT count(*) FROM event JOIN stream ON stream.id = event.stream_id "
            "WHERE stream.node = ? AND event.type = 'edgeloop.gap'",
            node.name,
        )

    def _transactions(self) -> int:
        """Transactions of ingest so far, as the cloud counts them."""
        with self._cloud.client() as client:
            return int(client.get("/v1/status")["ingest"].get("transactions", 0))

    def _read(self, query: str, *values: Any) -> int:
        file = self._cloud.folder / "cloud.sqlite"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
            return int(connection.execute(query, values).fetchone()[0])

    def _look(self, tap: Tap) -> list[tuple[str, dict[str, str]]]:
        """The requests of the node's next whole look; empty until there was one."""
        tap.sent.clear()
        first = wait_until(lambda: b"timestamp.json" in tap.sent, what="a look begins", timeout_s=30)
        assert first
        quiet = time.monotonic() + QUIET_S
        wait_until(lambda: time.monotonic() > quiet, what="the look ends", timeout_s=QUIET_S + 5)
        return parse_requests(bytes(tap.sent))

    def _same_model(self, version: str) -> Bundle:
        """The app's starter under another version."""
        starter = open_bundle(find_app(APP).starter, app=APP)
        folder = self._folder / "models" / version
        folder.mkdir(parents=True)
        for name in starter.manifest.files:
            (folder / name).write_bytes((starter.path / name).read_bytes())
        return bundles.seal(folder, msgspec.structs.replace(starter.manifest, version=version))


class _BrokerClient:
    """A paho client as the cloud's own user, connected while the context lasts."""

    def __init__(self, host: str, port: int, password: str) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self._address = host, port
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(CLOUD_USER, password)
        self._client.max_inflight_messages_set(100)

    def __enter__(self) -> Any:
        connected = threading.Event()
        self._client.on_connect = lambda *_: connected.set()
        self._client.connect(*self._address)
        self._client.loop_start()
        if not connected.wait(10):
            raise ShowError("the broker does not answer")
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _written(node: EdgeNode) -> int:
    written = written_bytes(node.child.pid)
    if written is None:
        raise ShowError("this system does not count what a process writes")
    return written


def process_alone(seed: int) -> float:
    """Events a second that the app decides on, model included, with no node around it."""
    from common.model.inference import load_model
    from common.model.profile import find_profile

    spec = find_app(APP)
    model = load_model(open_bundle(spec.starter, app=APP), find_profile())
    app = spec.load_edge()(EdgeContext(spec.settings(), model))
    source = spec.load_virtual()("turbofan", {"seed": str(seed)}, 0.0)
    readings = list(islice(source.readings(None), BARE_READINGS))
    started = time.perf_counter()
    events = sum(
        isinstance(result, Event)
        for reading in readings
        for result in app.process(reading, reading.captured_ns)
    )
    return events / (time.perf_counter() - started)


def parse_requests(sent: bytes) -> list[tuple[str, dict[str, str]]]:
    """``(path, headers)`` of the GET requests in what a client sent."""
    found: list[tuple[str, dict[str, str]]] = []
    for head in sent.decode("latin-1").split("\r\n\r\n"):
        first, *lines = head.split("\r\n")
        method, _, rest = first.partition(" ")
        if method == "GET":
            headers = dict(line.split(": ", 1) for line in lines if ": " in line)
            headers.pop("Host", None)
            found.append((rest.partition(" ")[0], headers))
    return found


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process so far (Linux; its threads, not its children)."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
