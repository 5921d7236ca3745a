"""Background work of a cloud: the watch of the broker, its own periodic tasks, and those of the apps."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from sqlmodel import Session

from cloud_backend.runtime.cloud import Cloud
from cloud_backend.runtime.periodic_tasks import PeriodicTask, PeriodicWorker
from cloud_backend.store import engine as store
from common.app.cloud import CloudContext, CloudPeriodicTasks
from common.errors import ConfigError

_log = structlog.get_logger("edgeloop.cloud")
WATCH_BROKER_S = 0.25
PROBLEMS_S = 1.0
"""Interval at which the counted problems of nodes are written to the store."""


def cloud_workers(cloud: Cloud, announce: Callable[[], None]) -> list[PeriodicWorker]:
    """The workers of a cloud; ``announce`` writes ``cloud.json`` after the broker was started again.

    Raises `ConfigError` for settings that no app has.
    """

    def keep_broker() -> None:
        cloud.broker.tidy()
        if not cloud.broker.alive():
            _log.warning("the broker died; starting it again", broker=cloud.broker.kind)
            cloud.broker.start()
            announce()

    settings = cloud.settings
    own = [
        PeriodicTask("jobs", min(settings.rollout.tick_s, 1.0), cloud.jobs.tick),
        PeriodicTask("problems", PROBLEMS_S, cloud.consumer.keep_problems),
        PeriodicTask("rollouts", settings.rollout.tick_s, cloud.rollouts.tick),
        PeriodicTask("timestamp", min(settings.tuf.timestamp_s / 10, 60.0), cloud.repository.renew_if_due),
    ]
    return [
        PeriodicWorker("broker-watch", [PeriodicTask("broker", WATCH_BROKER_S, keep_broker)]),
        PeriodicWorker("periodic-tasks", own),
        *app_workers(cloud),
    ]


def app_workers(cloud: Cloud) -> list[PeriodicWorker]:
    """A worker for each app with periodic tasks. Raises `ConfigError` for settings that no app has."""

    def session(*, read_only: bool = False) -> Session:
        return Session(store.read_only(cloud.engine) if read_only else cloud.engine)

    apps = {name: app for name, app in cloud.projections.items() if isinstance(app, CloudPeriodicTasks)}
    if unknown := sorted(set(cloud.settings.apps) - set(apps) - set(cloud.app_problems)):
        known = ", ".join(sorted(apps)) or "none"
        raise ConfigError(f"apps.{unknown[0]}: no app has settings under this name; those that do: {known}")
    workers: list[PeriodicWorker] = []
    for name, app in apps.items():
        context = CloudContext(session, cloud.settings.apps.get(name, {}), cloud.clock)
        if tasks := app.periodic_tasks(context):
            workers.append(PeriodicWorker(f"{name}-tasks", tasks))
    return workers
