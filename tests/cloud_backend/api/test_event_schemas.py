"""The OpenAPI document describes the events of every installed app, and what a node sends fits it."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
import pytest
from starlette.testclient import TestClient

from apps.industrial.events import EVENTS, Rul
from cloud_backend.api.event_schemas import event_schemas
from common.app.events import EventData, EventTypes, make_event
from common.app.spec import installed_apps
from common.messages import Priority, encode_event


@pytest.fixture(scope="module")
def document(admin: TestClient) -> dict[str, Any]:
    return admin.get("/openapi.json").json()


def test_every_declared_event_is_a_component_and_named_where_events_are_read(
    document: dict[str, Any],
) -> None:
    declared = [each for spec in installed_apps().values() for each in spec.load_events()]
    components = document["components"]["schemas"]
    assert len(declared) >= len(list(EVENTS)) > 0
    for each in declared:
        assert f"priority `{each.PRIORITY.name.lower()}`" in components[each.TYPE]["description"]
        assert "GET /v1/events" in components[each.TYPE]["description"]
        assert f"`{each.TYPE}`" in document["paths"]["/v1/events"]["get"]["description"]
    for carrier in ("EventPublic", "AlertPublic"):
        choices = components[carrier]["properties"]["data"]["anyOf"]
        assert {choice.get("$ref") for choice in choices} == {
            None,
            *(f"#/components/schemas/{each.TYPE}" for each in declared),
        }


def test_every_reference_of_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    names = re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document))
    assert names
    assert set(names) <= document["components"]["schemas"].keys()


def test_what_a_node_sends_fits_its_schema(document: dict[str, Any]) -> None:
    data = Rul(
        run=1, cycle=7, rul_cycles=88.2, lower_cycles=60.0, upper_cycles=None, novelty=0.4, version="1"
    )
    sent = json.loads(encode_event(make_event(data, "engine-1", 1), source="/plant/n1", epoch="e", seq=1))[
        "data"
    ]
    schema = document["components"]["schemas"]["industrial.rul"]
    assert schema["properties"]["rul_cycles"]["description"] == "capped at 125"
    assert jsonschema_rs.is_valid(schema, sent)
    assert not jsonschema_rs.is_valid(schema, sent | {"cycle": "seven"})
    assert not jsonschema_rs.is_valid(schema, {"cycle": 7})


class Part(EventData, frozen=True, kw_only=True):
    """Not an event by itself here."""

    TYPE = "pumps.part"
    PRIORITY = Priority.EVENT
    name: str


class Stopped(EventData, frozen=True, kw_only=True):
    """A pump has stopped."""

    TYPE = "pumps.stopped"
    PRIORITY = Priority.ALARM
    part: Part
    """the part that failed"""


def test_structures_within_events_are_components_of_the_app() -> None:
    found = event_schemas(EventTypes("pumps", Stopped))
    part = found["pumps.stopped"]["properties"]["part"]
    assert part == {"$ref": "#/components/schemas/pumps.Part", "description": "the part that failed"}
    assert found.keys() == {"pumps.stopped", "pumps.Part"}
    both = event_schemas(EventTypes("pumps", Stopped, Part))
    assert both["pumps.stopped"]["properties"]["part"]["$ref"] == "#/components/schemas/pumps.part"
