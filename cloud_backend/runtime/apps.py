"""Apps of a cloud: loaded and checked one by one, so that a broken app does not keep the cloud from starting.

An app with an error is left out, with its error in the log (and traceback) and in the cloud's status. Its
events are stored as all others, and projected once it works again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pkgutil import resolve_name

import structlog
from sqlalchemy import Engine

from cloud_backend.ingest.app_tables import forget_others, prepare_app
from cloud_backend.store.engine import is_outage
from common.app.cloud import CloudApp
from common.app.spec import AppSpec
from common.config.cloud import CloudSettings
from common.errors import AppError, ConfigError

_log = structlog.get_logger("edgeloop.cloud")


@dataclass(frozen=True, slots=True)
class CloudApps:
    """Working apps and their cloud sides by name, and the errors of the others."""

    specs: dict[str, AppSpec] = field(default_factory=dict)
    projections: dict[str, CloudApp] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def load_apps(
    engine: Engine, settings: CloudSettings, found: Mapping[str, Callable[[], AppSpec]] | None = None
) -> CloudApps:
    """The apps of ``only_apps``, by default all of ``found``, with their tables up to date.

    ``found`` loads each app by its name; the installed ones by default.

    Raises `ConfigError` for an app in ``only_apps`` that is not installed; errors of the database.
    """
    if found is None:
        found = {entry.name: entry.load for entry in entry_points(group="edgeloop.apps")}
    installed = sorted(found)
    if unknown := sorted(set(settings.only_apps) - set(installed)):
        raise ConfigError(f"only_apps: no app is called {unknown[0]!r}; installed: {', '.join(installed)}")
    apps = CloudApps()
    for name in settings.only_apps or installed:
        try:
            spec = found[name]()
            app = spec.load_cloud()
            prepare_app(engine, name, app, others=apps.projections)
            check_routes_and_pages(spec, app, settings)
        except Exception as error:
            if is_outage(error):
                raise
            reason = str(error) if isinstance(error, AppError) else f"{type(error).__name__}: {error}"
            apps.problems[name] = reason
            _log.error("an app is left out", app=name, error=reason, exc_info=error)
            continue
        apps.specs[name] = spec
        apps.projections[name] = app
    forget_others(engine, list(apps.projections))
    return apps


def check_routes_and_pages(spec: AppSpec, app: CloudApp, settings: CloudSettings) -> None:
    """Make an app's router, and import its pages. Raises what the app raises."""
    from cloud_backend.api.dependencies import AppDependencies

    app.router(AppDependencies(settings.apps))
    if spec.pages:
        resolve_name(spec.pages)
