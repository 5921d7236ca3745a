"""An app's events are made, sent and decoded by one declaration; what it does not allow is distinguished."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest

from common.app.cloud import ReceivedEvent
from common.app.events import EventData, EventTypes, fields_of, make_event
from common.errors import ConfigError, MessageError
from common.messages import Event, Priority, decode_event, encode_event


class Level(EventData, frozen=True, kw_only=True):
    """The level of a tank,
    once a minute."""

    TYPE = "tank.level"
    PRIORITY = Priority.TELEMETRY
    level_m: Annotated[float, msgspec.Meta(ge=0, le=20)] | None
    """above the outlet."""
    pumps: list[str] = []
    note: str = ""
    version: str

    def __post_init__(self) -> None:
        if len(self.pumps) != len(set(self.pumps)):
            raise ValueError("a pump twice")


class Foreign(EventData, frozen=True, kw_only=True):
    """Of another app."""

    TYPE = "boiler.on"
    PRIORITY = Priority.EVENT


EVENTS = EventTypes("tank", Level)
FULL = Level(level_m=2.5, pumps=["a", "b"], note="x", version="v1")


def received(body: bytes, kind: str = Level.TYPE) -> ReceivedEvent:
    return ReceivedEvent(
        site="s",
        node="n",
        epoch="e",
        seq=1,
        type=kind,
        subject="tank-1",
        time_ns=7,
        priority=Priority.TELEMETRY,
        body=body,
    )


@pytest.mark.parametrize("data", [FULL, Level(level_m=None, version="v1")])
def test_what_the_node_makes_the_cloud_decodes(data: Level) -> None:
    event = make_event(data, "tank-1", 1_700_000_000_000_000_000)
    assert (event.type, event.subject, event.priority) == ("tank.level", "tank-1", Priority.TELEMETRY)
    wire = decode_event(encode_event(event, source="/s/n", epoch="e", seq=1))
    assert EVENTS.decode(received(bytes(wire.data), wire.type)) == data


def test_the_priority_of_one_event_may_differ_from_its_types() -> None:
    assert make_event(FULL, "tank-1", 7, Priority.ALARM).priority is Priority.ALARM


def test_fields_at_their_default_are_not_on_the_wire() -> None:
    event = make_event(Level(level_m=None, version="v1"), "tank-1", 7)
    assert fields_of(event) == {"level_m": None, "version": "v1"}
    assert fields_of(Event("tank.level", "tank-1", 7, Priority.EVENT, {"level_m": 1.0})) == {"level_m": 1.0}


def test_an_unknown_type_is_none_and_an_unknown_field_is_left_out() -> None:
    assert EVENTS.decode(received(b"{}", "tank.leak")) is None
    newer = received(b'{"level_m":2.5,"pumps":["a","b"],"note":"x","version":"v1","new":1}')
    assert EVENTS.decode(newer) == FULL


@pytest.mark.parametrize(
    "body",
    [
        b'{"level_m":20.5,"version":"v1"}',
        b'{"level_m":"2","version":"v1"}',
        b'{"level_m":2}',
        b'{"level_m":2,"pumps":["a","a"],"version":"v1"}',
        b'{"level_m":2,"version":"\xff"}',
        b"[]",
        b'{"x":' + b"[" * 100_000,
        b"",
    ],
)
def test_malformed_data_is_refused_with_its_type(body: bytes) -> None:
    with pytest.raises(MessageError, match=r"data of tank\.level"):
        EVENTS.decode(received(body))


def test_a_declaration_without_the_apps_prefix_or_made_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'tank' declares 'boiler.on'.*begin with 'tank\.'"):
        EventTypes("tank", Level, Foreign)
    with pytest.raises(ConfigError, match=r"'tank\.level' twice"):
        EventTypes("tank", Level, Level)


def test_the_table_names_meaning_priority_and_fields() -> None:
    *_, row = EVENTS.table().splitlines()
    assert row == (
        "| `tank.level` | telemetry | The level of a tank, once a minute. "
        "| `level_m` (above the outlet), `pumps`?, `note`?, `version` |"
    )
