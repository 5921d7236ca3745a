"""The template app with one part broken, for the tests of `edgeloop app check`.

Each class is one part with one defect.
"""

# SQLModel declares ``__tablename__`` as a declared attribute; a name is what it takes.
# pyright: reportAssignmentType=false

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter
from sqlmodel import Field, Session, SQLModel, select

from apps.template.app import SPEC
from apps.template.cloud.projection import TemplateCloud
from apps.template.cloud.tables import Machine
from apps.template.edge.app import TemplateEdge
from apps.template.training import job
from apps.template.virtual.machine import open_source as open_template_source
from common.app.cloud import ReceivedEvent
from common.app.edge import EdgeContext, Reading, Sample
from common.app.spec import AppSpec
from common.app.training import Figure, GateRule, LabelledSample, Metrics, TrainContext
from common.bundle import Bundle, Lineage, seal
from common.messages import Event

HERE = "tests.common.authoring.broken_apps"


def broken(**parts: str) -> AppSpec:
    """The template with these parts from here."""
    return dataclasses.replace(SPEC, **{part: f"{HERE}:{name}" for part, name in parts.items()})


# ---------------------------------------------------------------------------------------------- cloud


class RaisingCloud(TemplateCloud):
    """Raises in its projection."""

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        raise KeyError("risk")


class SilentCloud(TemplateCloud):
    """Projects nothing."""

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        pass


class AddingCloud(TemplateCloud):
    """Adds with every projection."""

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        super().project(session, events)
        for machine in session.exec(select(Machine)):
            machine.alarm_ns += 1


class BatchCloud(TemplateCloud):
    """Projects the first event of a batch only."""

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        super().project(session, events[:1])


class ForeignTable(SQLModel, table=True):
    """A table with the prefix of another app."""

    __tablename__ = "industrial_broken"
    machine: str = Field(primary_key=True)


class ForeignTableCloud(TemplateCloud):
    """Has a table with the prefix of another app."""

    def tables(self) -> Sequence[type[SQLModel]]:
        return (*super().tables(), ForeignTable)


class NoRouterCloud(TemplateCloud):
    """Raises where its router is built."""

    def router(self, deps: Any) -> APIRouter:
        raise AttributeError("no such dependency")


class FailingRouteCloud(TemplateCloud):
    """Has a route that fails."""

    def router(self, deps: Any) -> APIRouter:
        router = APIRouter()

        @router.get("/machines")
        def machines() -> list[str]:
            return [str(1 / 0)]

        return router


# ---------------------------------------------------------------------------------------------- pages


def no_front_page(site: Any) -> None:
    """Adds no front page."""


def failing_page(site: Any) -> None:
    """Adds a page that reads a route which is not there."""

    @site.page("", "Machines")
    async def machines(view: Any) -> None:
        async def refresh() -> None:
            await view.api.get("/v1/apps/template/nothing")

        await view.live(refresh)


# ------------------------------------------------------------------------------------------- training


class Training:
    """The template's own training."""

    gate = job.gate

    def train(self, context: TrainContext) -> Bundle:
        return job.train(context)

    def evaluate(self, bundle: Bundle, samples: Sequence[LabelledSample], data_path: Path | None) -> Metrics:
        return job.evaluate(bundle, samples, data_path)


class RaisingTraining(Training):
    """Cannot train."""

    def train(self, context: TrainContext) -> Bundle:
        raise ValueError("no rows")


class OtherVersionTraining(Training):
    """Ignores the version."""

    def train(self, context: TrainContext) -> Bundle:
        return job.train(dataclasses.replace(context, version="9"))


class NoLineageTraining(Training):
    """Writes no lineage."""

    def train(self, context: TrainContext) -> Bundle:
        made = job.train(context)
        lineage = Lineage(data={}, code="")
        return seal(made.path, msgspec.structs.replace(made.manifest, lineage=lineage))


class OtherGateTraining(Training):
    """Judges by a figure that it does not measure."""

    gate = GateRule("f1", higher_is_better=True)


class NanTraining(Training):
    """Measures NaN."""

    def evaluate(self, bundle: Bundle, samples: Sequence[LabelledSample], data_path: Path | None) -> Metrics:
        return Metrics({"accuracy": Figure(float("nan"))})


raising_training = RaisingTraining()
other_version_training = OtherVersionTraining()
no_lineage_training = NoLineageTraining()
other_gate_training = OtherGateTraining()
nan_training = NanTraining()


# ----------------------------------------------------------------------------------------------- edge


class OtherPrefixEdge(TemplateEdge):
    """Sends events of another app."""

    def process(self, reading: Reading, now_ns: int) -> Iterator[Event | Sample]:
        for result in super().process(reading, now_ns):
            yield msgspec.structs.replace(result, type="other.risk") if isinstance(result, Event) else result


_calls = iter(range(10**9))


class ChangingEdge(TemplateEdge):
    """Depends on something beside its state."""

    def process(self, reading: Reading, now_ns: int) -> Iterator[Event | Sample]:
        for result in super().process(reading, now_ns):
            yield (
                msgspec.structs.replace(result, time_ns=next(_calls)) if isinstance(result, Event) else result
            )


class ForgetfulEdge(TemplateEdge):
    """Saves nothing."""

    def restore(self, state: Mapping[str, Any]) -> None:
        pass


class GrowingEdge(TemplateEdge):
    """Keeps every reading."""

    def __init__(self, context: EdgeContext) -> None:
        super().__init__(context)
        self._all: list[list[float]] = []

    def process(self, reading: Reading, now_ns: int) -> Any:
        self._all.append(reading.values.tolist())
        return super().process(reading, now_ns)

    def snapshot(self) -> Mapping[str, Any]:
        return {**super().snapshot(), "all": self._all}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._all = list(state["all"])


class WritingEdge(TemplateEdge):
    """Writes into a reading."""

    def process(self, reading: Reading, now_ns: int) -> Any:
        reading.values[0] = 0.0
        return super().process(reading, now_ns)


class NoCapacityEdge(TemplateEdge):
    """Holds any number of machines."""

    def __init__(self, context: EdgeContext) -> None:
        settings = msgspec.structs.replace(context.settings, max_machines=100_000)
        super().__init__(dataclasses.replace(context, settings=settings))


class ZeroForBadEdge(TemplateEdge):
    """Takes an unusable reading for a usable one."""

    def process(self, reading: Reading, now_ns: int) -> Any:
        import numpy as np

        if reading.values.shape != (2,) or not np.isfinite(reading.values).all():
            reading = dataclasses.replace(reading, values=np.zeros(2), channels=())
        return super().process(reading, now_ns)


# --------------------------------------------------------------------------------------------- source


def unseeded_source(kind: str, parameters: dict[str, str], speed: float) -> Any:
    """Gives other values each time."""
    return open_template_source(kind, {**parameters, "seed": str(next(_calls))}, speed)


def restarting_source(kind: str, parameters: dict[str, str], speed: float) -> Any:
    """Starts at its first reading, whatever the position."""
    source = open_template_source(kind, parameters, speed)
    begin = source.readings
    source.readings = lambda after: begin(None)
    return source


SILENT = broken(cloud="SilentCloud")
