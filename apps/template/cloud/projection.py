"""The cloud's side of the template app: machines by risk, from the newest events of each."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter
from sqlmodel import Session, SQLModel

from apps.template.cloud.routes import make_router
from apps.template.cloud.tables import Machine
from apps.template.events import EVENTS, Alarm, AlarmCleared, Risk
from common.app.cloud import ReceivedEvent, RouteDeps


class TemplateCloud:
    """`common.app.cloud.CloudApp` of the template app."""

    schema_version = 1

    def tables(self) -> Sequence[type[SQLModel]]:
        return (Machine,)

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        for event in events:
            data = EVENTS.decode(event)
            if isinstance(data, (Risk, Alarm, AlarmCleared)):
                _project(session, event, data)
        session.flush()

    def router(self, deps: RouteDeps) -> APIRouter:
        return make_router(deps)


def _project(session: Session, event: ReceivedEvent, data: Risk | Alarm | AlarmCleared) -> None:
    machine = session.get(Machine, event.subject)
    if machine is None:
        machine = Machine(machine=event.subject, site=event.site, node=event.node, version=data.version)
        session.add(machine)
    if isinstance(data, Risk):
        if event.time_ns >= machine.time_ns:
            machine.site, machine.node, machine.version = event.site, event.node, data.version
            machine.risk, machine.novelty = data.risk, data.novelty
            machine.time_ns, machine.time_quality = event.time_ns, event.time_quality
    elif event.time_ns >= machine.alarm_ns:
        machine.alarm, machine.alarm_ns = isinstance(data, Alarm), event.time_ns
