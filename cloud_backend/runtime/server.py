"""The cloud's process: build the parts, run them, drain on SIGTERM.

Threads: the main one runs the API (uvicorn), ``ingest-receive`` and ``ingest-commit`` bring events in,
``broker-watch`` keeps the broker running, ``steward`` does the other chores, ``<app>-chores`` those of an
app. On SIGTERM or Ctrl-C the API ends first, then what was received is committed and acked, then the broker
ends.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvicorn

from cloud_backend.runtime.addresses import WILDCARDS, check_public, unreachable
from cloud_backend.runtime.backup import RESTORED, read_restored
from cloud_backend.runtime.cloud import Cloud
from cloud_backend.runtime.periodic_tasks import Chore, Steward
from common import durable
from common.app.cloud import CloudChores, CloudContext
from common.app.spec import AppSpec, installed_apps
from common.broker_tls import tls_context
from common.clock import anchored_clock
from common.config.cloud import CloudSettings
from common.errors import ConfigError, StoreError
from common.private import close_folder, restrict_new_files

_log = structlog.get_logger("edgeloop.cloud")
WATCH_BROKER_S = 0.25
PROBLEMS_S = 1.0
"""How often what was seen of nodes is written down."""
DRAIN_S = 10
"""How long requests in hand may take at the end."""
SOCKET_MESSAGE_BYTES = 1024 * 1024
"""Largest message of a dashboard page to the cloud."""
DATA_ENTRIES = (
    "cloud.*",
    "lock",
    "ports.json",
    *("secrets", "tuf", "models", "broker", "samples", "jobs", "incoming"),
)
"""What a cloud keeps in its data folder."""


class CloudFile(msgspec.Struct, frozen=True):
    """``cloud.json`` in the data folder, there while the cloud is ready."""

    http_url: str
    mqtt_host: str
    mqtt_port: int
    broker_kind: str
    broker_pid: int
    pid: int


class Ports(msgspec.Struct, frozen=True):
    """The ports that were picked where the settings say 0; kept, so that nodes find a restarted cloud.

    ``database`` is the kind of the store, for a backup.
    """

    http: int = 0
    mqtt: int = 0
    database: str = ""


def run_cloud(settings: CloudSettings) -> int:
    """Run a cloud until SIGTERM or SIGINT; the exit status.

    Raises `StoreError`, `BrokerError`, `ConfigError` or `RegistryError` where it cannot start.
    """
    restrict_new_files()
    _set_up_logging()
    stop = _StopSignals()
    with ExitStack() as stack:
        folder = Path(settings.data).resolve()
        close_folder(folder, DATA_ENTRIES)
        stack.enter_context(sole_use(folder))
        (folder / "cloud.json").unlink(missing_ok=True)
        try:
            cloud, listener = build(settings, folder, stack)
            _serve(cloud, listener, stack)
        except _Stopped:
            pass  # while starting; or uvicorn hands on, at its end, the signal that ended it
        stop.ignore()
        _log.info("draining")
    _log.info("stopped")
    return 0


def build(
    settings: CloudSettings, folder: Path, stack: ExitStack, *, apps: Mapping[str, AppSpec] | None = None
) -> tuple[Cloud, socket.socket]:
    """All parts of a cloud on ``folder``, broker and ingest running, and the API's socket, bound.

    ``stack`` ends what was started, in the right order. ``apps`` are the installed ones by default.
    """
    from cloud_backend.access.audit import OFFLINE
    from cloud_backend.access.tokens import CLOUD_USER, Access
    from cloud_backend.broker.choice import broker_authority, open_broker
    from cloud_backend.ingest.consumer import Consumer
    from cloud_backend.ingest.projections import Projections, prepare
    from cloud_backend.ota.repository import Repository
    from cloud_backend.ota.rollouts import Rollouts
    from cloud_backend.registry.registry import Registry
    from cloud_backend.store.engine import open_store, sqlite_url
    from cloud_backend.training import Jobs, SampleStore

    clock = anchored_clock()
    check_public(settings)
    ports = _read_ports(folder)
    listener = _bind(settings.http.host, settings.http.port, ports.http)
    stack.callback(listener.close)
    engine = open_store(settings.database or sqlite_url(folder / "cloud.sqlite"))
    stack.callback(engine.dispose)
    access = Access(engine, folder / "secrets", clock)
    apps = installed_apps() if apps is None else apps
    projections = {name: spec.load_cloud() for name, spec in sorted(apps.items())}
    prepare(engine, projections)
    repository = Repository(folder / "tuf", folder / "secrets", list(apps), settings.tuf.timestamp_s, clock)
    registry = Registry(engine, str(folder / "models"), apps=apps, clock=clock)
    mqtt = settings.mqtt if settings.mqtt.port else _with_port(settings.mqtt, ports.mqtt)
    broker = open_broker(mqtt, folder / "broker", access.broker_users)
    stack.callback(broker.stop)
    broker.start()
    consumer = Consumer(
        engine,
        Projections(projections),
        settings.ingest,
        host=_reachable(broker.host),
        port=broker.port,
        user=CLOUD_USER,
        password=access.mqtt_password,
        keys=access.wire_keys,
        clock=clock,
        tls=tls_context(broker_authority(settings.mqtt)) if settings.mqtt.tls else None,
    )
    rollouts = Rollouts(engine, repository, registry, settings.rollout, consumer.hint, clock)
    data = os.environ.get("EDGELOOP_DATA")
    if (restored := read_restored(folder)) is not None:
        rollouts.raise_after_restore(restored.created_ns)
        details = {"backup_of_ns": restored.created_ns, "restored_ns": restored.restored_ns}
        access.audit.record(restored.by or "unknown", "restore the cloud", details=details, address=OFFLINE)
        (folder / RESTORED).unlink()
    repository.publish_connection(
        settings.mqtt.public_host or _reachable(broker.host), settings.mqtt.public_port or broker.port
    )
    samples = SampleStore(
        engine,
        folder / "samples",
        limit_bytes=settings.http.sample_limit_bytes,
        node_limit_bytes=settings.http.node_samples_bytes,
        clock=clock,
    )
    jobs = Jobs(
        engine,
        registry,
        folder / "jobs",
        settings.training,
        samples=samples,
        data_path=Path(data) if data else None,
        clock=clock,
    )
    stack.callback(consumer.stop)
    consumer.start()
    stack.callback(jobs.close)
    _write_ports(folder, Ports(listener.getsockname()[1], broker.port, engine.dialect.name))
    host, port = listener.getsockname()[:2]
    public_host = _reachable(settings.http.host)
    cloud = Cloud(
        settings=settings,
        folder=folder,
        engine=engine,
        access=access,
        registry=registry,
        repository=repository,
        rollouts=rollouts,
        jobs=jobs,
        broker=broker,
        consumer=consumer,
        apps=apps,
        projections=projections,
        http_url=settings.http.public_url or f"http://{_in_url(public_host)}:{port}",
        mqtt_host=settings.mqtt.public_host or _reachable(broker.host),
        mqtt_port=settings.mqtt.public_port or broker.port,
        clock=clock,
    )
    _log.info("api bound", host=host, port=port)
    return cloud, listener


def _serve(cloud: Cloud, listener: socket.socket, stack: ExitStack) -> None:
    """Run the API and the chores until a signal ends them."""
    from cloud_backend.api.application import create_api
    from cloud_backend.dashboard import mount
    from cloud_backend.runtime.connections import (
        RESERVED_FILES,
        ConnectionLimits,
        bounded_protocol,
        networks,
        raise_file_limit,
    )

    def announce() -> None:
        file = CloudFile(
            http_url=cloud.http_url,
            mqtt_host=cloud.mqtt_host,
            mqtt_port=cloud.mqtt_port,
            broker_kind=cloud.broker.kind,
            broker_pid=cloud.broker.pid or 0,
            pid=os.getpid(),
        )
        durable.write(cloud.folder / "cloud.json", msgspec.json.encode(file))

    def keep_broker() -> None:
        cloud.broker.tidy()
        if not cloud.broker.alive():
            _log.warning("the broker died; starting it again", broker=cloud.broker.kind)
            cloud.broker.start()
            announce()

    def ready() -> None:
        announce()
        changed = changed_settings(cloud.settings, CloudSettings())
        cloud.access.audit.record(f"os:{os.geteuid()}", "start the cloud", details=changed)
        stack.callback((cloud.folder / "cloud.json").unlink, missing_ok=True)
        for each in (watch, steward, *of_apps):
            each.start()
        sys.stdout.write(
            f"edgeloop cloud is ready: {cloud.http_url}, broker {cloud.broker.kind} at "
            f"{cloud.mqtt_host}:{cloud.mqtt_port}, the token is in {cloud.access.admin_token_file}\n"
        )
        if wrong := unreachable(settings, cloud.http_url, cloud.mqtt_host):
            _log.warning(f"{wrong}; nodes cannot be enrolled until then (`edgeloop cloud settings`)")
        if password := cloud.access.passwords.make():
            sys.stdout.write(f"the dashboard's password, printed this once: {password}\n")
        sys.stdout.flush()

    settings = cloud.settings
    watch = Steward("broker-watch", [Chore("broker", WATCH_BROKER_S, keep_broker)])
    steward = Steward(
        "steward",
        [
            Chore("jobs", min(settings.rollout.tick_s, 1.0), cloud.jobs.tick),
            Chore("problems", PROBLEMS_S, cloud.consumer.keep_problems),
            Chore("rollouts", settings.rollout.tick_s, cloud.rollouts.tick),
            Chore("timestamp", min(settings.tuf.timestamp_s / 10, 60.0), cloud.repository.renew_if_due),
        ],
    )
    of_apps = app_stewards(cloud)
    for each in (watch, steward, *of_apps):
        stack.callback(each.stop)
    api = create_api(cloud)
    mount(api, cloud.apps)
    http = settings.http
    files = raise_file_limit()
    limits = ConnectionLimits(
        connections=max(1, min(http.connections, files - RESERVED_FILES)),
        per_address=http.connections_per_address,
        request_timeout_s=http.request_timeout_s,
        proxies=networks(http.forwarded_allow_ips),
    )
    config = uvicorn.Config(
        api,
        http=bounded_protocol(limits),
        proxy_headers=bool(http.forwarded_allow_ips),
        forwarded_allow_ips=http.forwarded_allow_ips,
        ws_max_size=SOCKET_MESSAGE_BYTES,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )
    gc.collect()
    gc.freeze()  # what is there now stays, so collections need not look at it for every batch
    _Server(config, ready).run(sockets=[listener])


def app_stewards(cloud: Cloud) -> list[Steward]:
    """A steward for each app that has chores. Raises `ConfigError` for settings that no app takes."""
    from sqlmodel import Session

    from cloud_backend.store import engine as store

    def session(*, read_only: bool = False) -> Session:
        return Session(store.read_only(cloud.engine) if read_only else cloud.engine)

    working = {name: app for name, app in cloud.projections.items() if isinstance(app, CloudChores)}
    if unknown := sorted(set(cloud.settings.apps) - set(working)):
        known = ", ".join(sorted(working)) or "none"
        raise ConfigError(f"apps.{unknown[0]}: no app takes settings under this name; those that do: {known}")
    stewards = []
    for name, app in working.items():
        chores = app.chores(CloudContext(session, cloud.settings.apps.get(name, {}), cloud.clock))
        if chores:
            stewards.append(Steward(f"{name}-chores", chores))
    return stewards


def changed_settings(settings: msgspec.Struct, defaults: msgspec.Struct) -> dict[str, Any]:
    """The settings that are not the defaults, for the audit trail; of a database only its kind."""
    found: dict[str, Any] = {}
    for name in settings.__struct_fields__:
        value, default = getattr(settings, name), getattr(defaults, name)
        if isinstance(value, msgspec.Struct):
            inner = changed_settings(value, default)
            found |= {f"{name}.{each}": what for each, what in inner.items()}
        elif value != default:
            found[name] = str(value).partition(":")[0] if name == "database" else value
    return found


class _Server(uvicorn.Server):
    """uvicorn that says when it takes requests."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()


class _Stopped(BaseException):
    """A signal asked to stop before the API was running."""


class _StopSignals:
    """SIGTERM and SIGINT outside uvicorn's own handling: they stop a start, and do not cut a drain short."""

    def __init__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._ignoring = False

    def ignore(self) -> None:
        """From here on the process is ending anyway."""
        self._ignoring = True

    def _stop(self, _number: int, _frame: object) -> None:
        if not self._ignoring:
            raise _Stopped


def sole_use(folder: Path) -> Any:
    """The lock of the data folder, held as long as the file is open; the system frees it with the process."""
    lock = (folder / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StoreError(
            f"another cloud runs on {folder}: stop it, or give this one another --data"
        ) from None
    return lock


def _bind(host: str, port: int, earlier: int) -> socket.socket:
    """The API's socket. With port 0, the one that was picked at an earlier start, if it is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in (port,) if port or not earlier else (earlier, 0):
        # asyncio sends small answers without delay only on sockets that say that they are TCP.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
        except OSError as error:
            listener.close()
            if candidate != earlier or port:
                raise ConfigError(f"the API cannot listen on {host}:{candidate}: {error.strerror}") from error
            continue
        return listener
    raise AssertionError("the last candidate binds or raises")


def _with_port(mqtt: Any, earlier: int) -> Any:
    from cloud_backend.broker.child import port_is_free

    usable = earlier and mqtt.broker != "external" and port_is_free(mqtt.host, earlier)
    return msgspec.structs.replace(mqtt, port=earlier) if usable else mqtt


def _read_ports(folder: Path) -> Ports:
    try:
        return msgspec.json.decode((folder / "ports.json").read_bytes(), type=Ports)
    except (OSError, msgspec.MsgspecError):
        return Ports()


def _write_ports(folder: Path, ports: Ports) -> None:
    durable.write(folder / "ports.json", msgspec.json.encode(ports))


def _reachable(host: str) -> str:
    """Where a program on this machine reaches what listens on ``host``."""
    return "127.0.0.1" if host in WILDCARDS else host


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _set_up_logging() -> None:
    """Log lines go to stderr, one each: structlog's, and those of libraries from warning on."""
    import logging

    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("cloud_backend").setLevel(logging.INFO)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%SZ", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
