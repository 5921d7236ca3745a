"""Background work of a cloud: the watch of the broker, its own periodic tasks, and those of the apps."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from cloud_backend.runtime.cloud import Cloud
from cloud_backend.runtime.periodic_tasks import PeriodicTask, PeriodicWorker

_log = structlog.get_logger("edgeloop.cloud")
WATCH_BROKER_S = 0.25
PROBLEMS_S = 1.0
"""Interval at which the counted problems of nodes are written to the store."""

SETTINGS_S = 5.0
"""Interval at which it is checked which nodes lack a change of their settings."""


def cloud_workers(cloud: Cloud, announce: Callable[[], None]) -> list[PeriodicWorker]:
    """The workers of a cloud; ``announce`` writes ``cloud.json`` after the broker was started again."""

    def keep_broker() -> None:
        cloud.broker.tidy()
        if not cloud.broker.alive():
            _log.warning("the broker died; starting it again", broker=cloud.broker.kind)
            cloud.broker.start()
            announce()

    settings = cloud.settings
    own = [
        PeriodicTask("jobs", min(settings.rollout.check_interval_s, 1.0), cloud.jobs.tick),
        PeriodicTask("problems", PROBLEMS_S, cloud.consumer.keep_problems),
        PeriodicTask("node-settings", SETTINGS_S, cloud.node_settings.resend),
        PeriodicTask("rollouts", settings.rollout.check_interval_s, cloud.rollouts.tick),
        PeriodicTask(
            "timestamp", min(settings.tuf.timestamp_validity_s / 10, 60.0), cloud.repository.renew_if_due
        ),
    ]
    return [
        PeriodicWorker("broker-watch", [PeriodicTask("broker", WATCH_BROKER_S, keep_broker)]),
        PeriodicWorker("periodic-tasks", own),
        *(
            PeriodicWorker(f"{name}-{task.name}", [task])
            for name, tasks in cloud.app_tasks.items()
            for task in tasks
        ),
    ]
