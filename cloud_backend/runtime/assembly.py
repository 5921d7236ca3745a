"""Assembly of a cloud: every part, made and connected once."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from cloud_backend.runtime.addresses import check_public
from cloud_backend.runtime.backup import RESTORED, read_restored
from cloud_backend.runtime.cloud import Cloud
from cloud_backend.runtime.data_folder import Ports, read_ports, write_ports
from cloud_backend.runtime.listener import bind, in_url, reachable
from common.app.spec import AppSpec
from common.broker_tls import tls_context
from common.clock import anchored_clock
from common.config.cloud import CloudSettings

_log = structlog.get_logger("edgeloop.cloud")


def build(
    settings: CloudSettings, folder: Path, stack: ExitStack, *, apps: Mapping[str, AppSpec] | None = None
) -> tuple[Cloud, socket.socket]:
    """All parts of a cloud on ``folder``, broker and ingest running, and the API's socket, bound.

    ``stack`` stops the started parts, in the right order. ``apps`` are the installed ones by default; those
    with errors are left out, with their problem.
    """
    from cloud_backend.access.audit import OFFLINE
    from cloud_backend.access.tokens import CLOUD_USER, Access
    from cloud_backend.broker.choice import broker_authority, open_broker
    from cloud_backend.ingest.consumer import Consumer
    from cloud_backend.ingest.projections import Projections
    from cloud_backend.ota.node_settings import NodeSettingsSender
    from cloud_backend.ota.repository import Repository
    from cloud_backend.ota.rollouts import Rollouts
    from cloud_backend.registry.registry import Registry
    from cloud_backend.runtime.apps import load_apps
    from cloud_backend.store.engine import open_store, sqlite_url
    from cloud_backend.training.jobs import Jobs
    from cloud_backend.training.samples import SampleStore

    clock = anchored_clock()
    check_public(settings)
    ports = read_ports(folder)
    listener = bind(settings.http.host, settings.http.port, ports.http)
    stack.callback(listener.close)
    engine = open_store(settings.database or sqlite_url(folder / "cloud.sqlite"))
    stack.callback(engine.dispose)
    access = Access(engine, folder / "secrets", clock)
    found = None if apps is None else {name: partial(_same, spec) for name, spec in apps.items()}
    loaded = load_apps(engine, settings, clock, found)
    repository = Repository(
        folder / "tuf", folder / "secrets", list(loaded.specs), settings.tuf.timestamp_validity_s, clock
    )
    registry = Registry(engine, str(folder / "models"), apps=loaded.specs, clock=clock)
    mqtt = settings.mqtt if settings.mqtt.port else _with_port(settings.mqtt, ports.mqtt)
    broker = open_broker(mqtt, folder / "broker", access.broker_users)
    stack.callback(broker.stop)
    broker.start()
    consumer = Consumer(
        engine,
        Projections(loaded.projections),
        settings.ingest,
        host=reachable(broker.host),
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
        settings.mqtt.public_host or reachable(broker.host), settings.mqtt.public_port or broker.port
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
    write_ports(folder, Ports(listener.getsockname()[1], broker.port, engine.dialect.name))
    host, port = listener.getsockname()[:2]
    public_host = reachable(settings.http.host)
    cloud = Cloud(
        settings=settings,
        folder=folder,
        engine=engine,
        access=access,
        registry=registry,
        repository=repository,
        rollouts=rollouts,
        node_settings=NodeSettingsSender(engine, consumer.change_settings, clock),
        jobs=jobs,
        broker=broker,
        consumer=consumer,
        apps=loaded.specs,
        projections=loaded.projections,
        app_tasks=loaded.periodic_tasks,
        app_problems=loaded.problems,
        http_url=settings.http.public_url or f"http://{in_url(public_host)}:{port}",
        mqtt_host=settings.mqtt.public_host or reachable(broker.host),
        mqtt_port=settings.mqtt.public_port or broker.port,
        clock=clock,
    )
    _log.info("api bound", host=host, port=port)
    return cloud, listener


def _with_port(mqtt: Any, earlier: int) -> Any:
    from cloud_backend.broker.child import port_is_free

    usable = earlier and mqtt.broker != "external" and port_is_free(mqtt.host, earlier)
    return msgspec.structs.replace(mqtt, port=earlier) if usable else mqtt


def _same(spec: AppSpec) -> AppSpec:
    return spec
