"""OpenAPI schemas of app events, from the apps' own declarations (`common.app.events`).

Each declared event type is a component with the type as its name, such as ``industrial.rul``. The ``data`` of
`EventPublic` and `AlertPublic` refers to all of them, and the route of the event list describes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from fastapi import FastAPI

from common.app.events import EventTypes
from common.app.spec import AppSpec
from common.config.loader import field_docs

EVENT_LIST = "/v1/events"
CARRIERS = ("EventPublic", "AlertPublic")
"""Components whose ``data`` is the data of an event."""
_ROUTES = "`GET /v1/events`, `GET /v1/nodes/{node}/events`, `GET /v1/events/newest` and `GET /v1/alerts`"
_REF = "#/components/schemas/"


def describe_events(api: FastAPI, apps: Mapping[str, AppSpec]) -> None:
    """Make the API's OpenAPI document include the events of ``apps``."""
    plain = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is not None:
            return api.openapi_schema
        declared = {spec.title: events for spec in apps.values() if list(events := spec.load_events())}
        schemas = [event_schemas(events) for events in declared.values()]
        types = [each.TYPE for events in declared.values() for each in events]
        document = plain()
        components: dict[str, Any] = document["components"]["schemas"]
        for each in schemas:
            components |= each
        for name in CARRIERS:
            components[name]["properties"]["data"] = data_schema(types)
        document["paths"][EVENT_LIST]["get"]["description"] += "".join(
            f"\n\n**{title}**\n\n{events.table()}" for title, events in declared.items()
        )
        return document

    api.openapi = openapi  # FastAPI's own way to extend the document


def event_schemas(events: EventTypes) -> dict[str, Any]:
    """JSON schemas of the data of an app's events by component name.

    An event is named by its type, and a structure within its data ``<app>.<class>``.
    """
    types = list(events)
    refs, found = msgspec.json.schema_components(types, ref_template=_REF + "{name}")
    names = {name: f"{events.app}.{name}" for name in found}
    names |= {ref["$ref"].removeprefix(_REF): each.TYPE for ref, each in zip(refs, types, strict=True)}
    text = msgspec.json.encode(found).decode()
    for name, public in names.items():
        text = text.replace(f'"{_REF}{name}"', f'"{_REF}{public}"')
    schemas = {names[name]: schema for name, schema in msgspec.json.decode(text).items()}
    for each in types:
        schema = schemas[each.TYPE]
        schema["title"] = each.TYPE
        schema["description"] = (
            f"{schema.get('description', '')} Data of an event of priority `{each.PRIORITY.name.lower()}` "
            f"in {_ROUTES}."
        ).strip()
        docs = field_docs(each)
        for field in msgspec.structs.fields(each):
            if field.name in docs:
                schema["properties"][field.encode_name]["description"] = docs[field.name]
    return schemas


def data_schema(types: Iterable[str]) -> dict[str, Any]:
    """JSON schema of ``data``: that of one of ``types``, or any value for other events."""
    return {
        "title": "Data",
        "description": "the schema is that of the component named by `type`; events of the platform "
        "(`edgeloop.`…), of other versions of an app and undecodable ones may have any",
        "anyOf": [*({"$ref": f"{_REF}{name}"} for name in types), {}],
    }
