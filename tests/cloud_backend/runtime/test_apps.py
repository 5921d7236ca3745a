"""Apps of a cloud: a broken one is left out with its error, and the others are served."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from nicegui import core
from sqlalchemy import Engine, inspect
from sqlmodel import Field, Session, SQLModel

from apps.ecg.cloud.projection import EcgCloud
from apps.industrial.cloud.projection import IndustrialCloud
from cloud_backend.runtime.apps import load_apps
from cloud_backend.store.engine import open_store, sqlite_url
from cloud_backend.store.tables import AppState
from common.app.cloud import CloudContext, Mount, PeriodicTask, RouteDeps
from common.app.spec import AppSpec, find_app
from common.config.cloud import CloudSettings
from common.errors import ConfigError
from common.pages import View
from common.pages.site import Site

NAME = "industrial"


class Foreign(SQLModel, table=True):
    __tablename__ = "elsewhere_total"  # pyright: ignore[reportAssignmentType]: a name is what SQLModel takes
    id: int = Field(primary_key=True)


class ForeignTables:
    """A cloud side with a table that is not named after its app."""

    schema_version = 1

    def tables(self) -> list[type[SQLModel]]:
        return [Foreign]


class BrokenRouter(IndustrialCloud):
    def router(self, deps: RouteDeps) -> APIRouter:
        raise ZeroDivisionError("router")


class BrokenTasks(IndustrialCloud):
    def periodic_tasks(self, context: CloudContext) -> Sequence[PeriodicTask]:
        raise ZeroDivisionError("periodic tasks")


class BrokenMounts(IndustrialCloud):
    def mounts(self, deps: RouteDeps) -> Mapping[str, Mount]:
        raise ZeroDivisionError("mounts")


class FhirToo(IndustrialCloud):
    """A cloud side with the mount of the ECG app, as a copy of that app has it."""

    def mounts(self, deps: RouteDeps) -> Mapping[str, Mount]:
        return EcgCloud().mounts(deps)


def broken_builder(site: Site) -> None:
    @site.page("half", "A page that must not be served")
    async def half(view: View) -> None: ...

    raise ZeroDivisionError("builder")


def broken_page(site: Site) -> None:
    @site.page("machines/{machine}", "A page without its parameter's type")
    async def machine(view: View, machine: Absent) -> None: ...  # type: ignore[name-defined]  # noqa: F821  the error under test


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_store(sqlite_url(tmp_path / "store.sqlite"))
    yield engine
    engine.dispose()


@pytest.fixture
def working() -> AppSpec:
    return find_app(NAME)


def broken_import() -> AppSpec:
    raise ModuleNotFoundError("No module named 'absent'")


def test_a_broken_app_is_left_out_and_named(engine: Engine, working: AppSpec) -> None:
    foreign = dataclasses.replace(working, name="foreign", cloud=f"{__name__}:ForeignTables")
    found = {"broken": broken_import, "foreign": lambda: foreign, NAME: lambda: working}
    apps = load_apps(engine, CloudSettings(), time.time_ns, found)
    assert list(apps.specs) == list(apps.projections) == [NAME]
    assert set(apps.problems) == {"broken", "foreign"}
    assert "absent" in apps.problems["broken"]
    assert "the app foreign declares the table elsewhere_total" in apps.problems["foreign"]
    assert "elsewhere_total" not in inspect(engine).get_table_names()


@pytest.mark.parametrize(
    ("part", "target", "reason"),
    [
        ("cloud", "BrokenRouter", "ZeroDivisionError: router"),
        ("cloud", "BrokenTasks", "ZeroDivisionError: periodic tasks"),
        ("cloud", "BrokenMounts", "ZeroDivisionError: mounts"),
        ("pages", "broken_builder", "ZeroDivisionError: builder"),
        ("pages", "broken_page", "NameError: name 'Absent' is not defined"),
    ],
)
def test_an_app_with_a_broken_part_is_left_out_whole(
    engine: Engine, working: AppSpec, part: str, target: str, reason: str
) -> None:
    routes = len(core.app.routes)
    changes: dict[str, Any] = {part: f"{__name__}:{target}"}
    broken = dataclasses.replace(working, **changes)
    apps = load_apps(
        engine, CloudSettings(), time.time_ns, {NAME: lambda: broken, "ecg": lambda: find_app("ecg")}
    )
    assert apps.problems == {NAME: reason}
    assert list(apps.specs) == list(apps.projections) == list(apps.periodic_tasks) == ["ecg"]
    assert len(core.app.routes) == routes, "no page of a check is served"


def test_of_two_apps_with_one_mount_the_second_is_left_out_and_the_first_is_named(
    engine: Engine, working: AppSpec
) -> None:
    copy = dataclasses.replace(working, cloud=f"{__name__}:FhirToo")
    found = {"ecg": lambda: find_app("ecg"), NAME: lambda: copy}
    apps = load_apps(engine, CloudSettings(), time.time_ns, found)
    assert list(apps.specs) == ["ecg"]
    assert (
        "the app industrial cannot mount /fhir: the app ecg does. Change the path in FhirToo.mounts"
        in apps.problems[NAME]
    )


def test_only_the_named_apps_are_served(engine: Engine, working: AppSpec) -> None:
    found = {"broken": broken_import, NAME: lambda: working}
    apps = load_apps(engine, CloudSettings(only_apps=[NAME]), time.time_ns, found)
    assert (list(apps.specs), apps.problems) == ([NAME], {})
    with pytest.raises(ConfigError, match="no app is called 'industrail'; installed: broken, " + NAME):
        load_apps(engine, CloudSettings(only_apps=["industrail"]), time.time_ns, found)


def test_an_app_that_was_not_served_is_rebuilt_when_it_is_again(engine: Engine, working: AppSpec) -> None:
    found = {NAME: lambda: working}

    def version() -> int:
        with Session(engine) as session:
            return session.get_one(AppState, NAME).schema_version

    load_apps(engine, CloudSettings(), time.time_ns, found)
    built = version()
    load_apps(engine, CloudSettings(), time.time_ns, {})
    assert (built, version()) == (working.load_cloud().schema_version, 0)
    load_apps(engine, CloudSettings(), time.time_ns, found)
    assert version() == built
