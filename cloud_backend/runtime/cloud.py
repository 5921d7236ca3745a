"""The cloud's parts, assembled once by `cloud_backend.runtime.assembly` and handed to the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.app.cloud import CloudApp, PeriodicTask
from common.app.spec import AppSpec
from common.clock import Clock
from common.config.cloud import CloudSettings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from cloud_backend.access.tokens import Access
    from cloud_backend.broker.broker import Broker
    from cloud_backend.ingest.consumer import Consumer
    from cloud_backend.ota.node_settings import NodeSettingsSender
    from cloud_backend.ota.repository import Repository
    from cloud_backend.ota.rollouts import Rollouts
    from cloud_backend.registry.registry import Registry
    from cloud_backend.training.jobs import Jobs


@dataclass(frozen=True, slots=True)
class Cloud:
    """One running cloud.

    ``apps`` are the working apps by name and ``projections`` their cloud sides (the instances that
    ingest uses; the API mounts their routers); ``app_tasks`` are their periodic tasks;
    ``app_problems`` are the errors of apps that are left out.
    ``http_url`` is the public one that enrolments carry, ``mqtt_host`` and ``mqtt_port`` the broker's address
    for nodes.
    """

    settings: CloudSettings
    folder: Path
    engine: Engine
    access: Access
    registry: Registry
    repository: Repository
    rollouts: Rollouts
    node_settings: NodeSettingsSender
    jobs: Jobs
    broker: Broker
    consumer: Consumer
    apps: Mapping[str, AppSpec]
    projections: Mapping[str, CloudApp]
    app_tasks: Mapping[str, Sequence[PeriodicTask]]
    app_problems: Mapping[str, str]
    http_url: str
    mqtt_host: str
    mqtt_port: int
    clock: Clock

    def status(self) -> dict[str, Any]:
        """State of the cloud as JSON values: the broker, the counters of ingest, and errors of apps."""
        broker = {
            "kind": self.broker.kind,
            "pid": self.broker.pid,
            "alive": self.broker.alive(),
            "host": self.mqtt_host,
            "port": self.mqtt_port,
            "connected": self.consumer.connected,
            "problem": self.consumer.problem,
        }
        return {
            "broker": broker,
            "ingest": self.consumer.counts(),
            "app_problems": dict(self.app_problems),
        }
