"""Apps of a cloud: loaded and checked one by one, so that a broken app does not keep the cloud from starting.

An app with an error in its tables, routes, mounts, pages or periodic tasks is left out, with its error in the
log (and traceback) and in the status of the cloud. Its events are stored as all others, and projected once it
works again. A wrong setting is the operator's error: it stops the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points

import structlog
from sqlalchemy import Engine
from sqlmodel import Session

from cloud_backend.ingest.app_tables import forget_others, prepare_app
from cloud_backend.store.engine import is_outage
from cloud_backend.store.engine import read_only as read_only_engine
from common.app.cloud import CloudApp, CloudContext, CloudPeriodicTasks, PeriodicTask, RouteDeps
from common.app.spec import AppSpec
from common.clock import Clock
from common.config.cloud import CloudSettings
from common.errors import AppError, ConfigError
from common.messages import Event

_log = structlog.get_logger("edgeloop.cloud")


@dataclass(frozen=True, slots=True)
class CloudApps:
    """Working apps, their cloud sides and periodic tasks by name, and the errors of the others."""

    specs: dict[str, AppSpec] = field(default_factory=dict)
    projections: dict[str, CloudApp] = field(default_factory=dict)
    periodic_tasks: dict[str, list[PeriodicTask]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def leave_out(self, name: str, error: Exception) -> None:
        """Record why an app is left out. Raises ``error`` if it is an outage of the database."""
        if is_outage(error):
            raise error
        reason = str(error) if isinstance(error, AppError) else f"{type(error).__name__}: {error}"
        self.problems[name] = reason
        _log.error("an app is left out", app=name, error=reason, exc_info=error)


def load_apps(
    engine: Engine,
    settings: CloudSettings,
    clock: Clock,
    found: Mapping[str, Callable[[], AppSpec]] | None = None,
) -> CloudApps:
    """The apps of ``only_apps``, by default all of ``found``, with their tables up to date.

    ``found`` loads each app by its name; the installed ones by default.

    Raises `ConfigError` for an app in ``only_apps`` that is not installed, and for settings that no app
    has or that their app refuses; errors of the database.
    """
    if found is None:
        found = {entry.name: entry.load for entry in entry_points(group="edgeloop.apps")}
    installed = sorted(found)
    if unknown := sorted(set(settings.only_apps) - set(installed)):
        raise ConfigError(f"only_apps: no app is called {unknown[0]!r}; installed: {', '.join(installed)}")

    from cloud_backend.api.dependencies import AppDependencies
    from cloud_backend.api.root_mounts import app_mounts

    def session(*, read_only: bool = False) -> Session:
        return Session(read_only_engine(engine) if read_only else engine)

    apps = CloudApps()
    deps = AppDependencies(settings.apps)
    owners: dict[str, str] = {}
    for name in settings.only_apps or installed:
        try:
            spec = found[name]()
            app: CloudApp = spec.load_cloud()
            prepare_app(engine, name, app, others=apps.projections)
            check_routes_and_pages(spec, app, deps)
        except Exception as error:  # noqa: BLE001  an app may raise anything
            apps.leave_out(name, error)
            continue
        try:
            tasks: list[PeriodicTask] | None = None
            if isinstance(app, CloudPeriodicTasks):
                context = CloudContext(
                    session, settings.apps.get(name, {}), clock, _recorder(name, app, clock)
                )
                tasks = list(app.periodic_tasks(context))
            mounts = app_mounts(name, app, deps, owners)
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001  an app may raise anything
            apps.leave_out(name, error)
            continue
        apps.specs[name] = spec
        apps.projections[name] = app
        owners.update(dict.fromkeys(mounts, name))
        if tasks is not None:
            apps.periodic_tasks[name] = tasks
    if unknown := sorted(set(settings.apps) - set(apps.periodic_tasks) - set(apps.problems)):
        known = ", ".join(sorted(apps.periodic_tasks)) or "none"
        raise ConfigError(f"apps.{unknown[0]}: no app has settings under this name; those that do: {known}")
    forget_others(engine, list(apps.projections))
    return apps


def _recorder(name: str, app: CloudApp, clock: Clock) -> Callable[[Session, str, Sequence[Event]], None]:
    from cloud_backend.ingest.cloud_events import record

    def recorder(session: Session, site: str, events: Sequence[Event]) -> None:
        record(session, name, app, site, events, clock())

    return recorder


def check_routes_and_pages(spec: AppSpec, app: CloudApp, deps: RouteDeps) -> None:
    """Make an app's router, and build its pages, without serving them. Raises what the app raises."""
    app.router(deps)
    if spec.pages:
        from cloud_backend.dashboard.layout.frame import check_pages

        check_pages(spec.name, spec.pages)
