"""Events of an app, declared once: the edge makes them, the cloud decodes them, the documents print them.

::

    class Rul(EventData, frozen=True, kw_only=True):
        \"\"\"Remaining useful life after a cycle.\"\"\"

        TYPE = "industrial.rul"
        PRIORITY = Priority.TELEMETRY
        cycle: Cycle
        rul_cycles: float | None

    EVENTS = EventTypes("industrial", Rul)

    make_event(Rul(cycle=7, rul_cycles=88.2), subject, time_ns)   # on the node: a `common.messages.Event`
    EVENTS.decode(received)                                       # in the cloud: a `Rul` again

Fields are JSON values with their units in the names; a field left at its default is not on the wire. Bounds
(`msgspec.Meta`, ``__post_init__``) hold where an event is decoded; ``__post_init__`` also where it is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from common.config.loader import field_docs
from common.errors import ConfigError, MessageError
from common.json_bounds import MALFORMED
from common.messages import Event, Priority

if TYPE_CHECKING:
    from common.app.cloud import ReceivedEvent


class EventData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of the data of one type of event. The docstring of a subclass describes the cause of the event."""

    TYPE: ClassVar[str]
    """Dotted, beginning with the app's name."""
    PRIORITY: ClassVar[Priority]
    """Priority of an event for which `make_event` gets no other."""


def make_event(
    data: EventData, subject: str, time_ns: int, priority: Priority | None = None, *, recorded: bool = False
) -> Event:
    """The event that carries ``data``, with the capture time in UTC nanoseconds (see `Event`)."""
    return Event(data.TYPE, subject, time_ns, data.PRIORITY if priority is None else priority, data, recorded)


def fields_of(event: Event) -> Mapping[str, Any]:
    """The data of an event of any app as JSON values by name, as they are on the wire."""
    return msgspec.to_builtins(event.data) if isinstance(event.data, msgspec.Struct) else event.data


class EventTypes:
    """All types of events of one app, in the order of the documents.

    Raises `ConfigError` for a type without the app's prefix, or declared twice.
    """

    def __init__(self, app: str, *types: type[EventData]) -> None:
        self.app = app
        self._types = {each.TYPE: each for each in types}
        self._decoders = {name: msgspec.json.Decoder(each).decode for name, each in self._types.items()}
        for name, count in Counter(each.TYPE for each in types).items():
            if count > 1:
                raise ConfigError(f"the app {app!r} declares the event type {name!r} twice")
            if not name.startswith(f"{app}."):
                raise ConfigError(f"the app {app!r} declares {name!r}; its event types begin with '{app}.'")

    def __iter__(self) -> Iterator[type[EventData]]:
        return iter(self._types.values())

    def decode(self, event: ReceivedEvent) -> EventData | None:
        """The data of an event; None for a type that is not declared here, as of a newer node.

        Raises `MessageError` for data that its type does not allow.
        """
        decode = self._decoders.get(event.type)
        if decode is None:
            return None
        try:
            return decode(event.body)
        except MALFORMED as error:
            raise MessageError(f"the data of {event.type} cannot be read: {error}") from error

    def table(self) -> str:
        """The events as a Markdown table: type, priority, meaning, and fields (``?``: may be absent)."""
        rows = ["| event | priority | meaning | fields |", "|---|---|---|---|"]
        for each in self:
            meaning = " ".join((each.__doc__ or "").split())
            rows.append(f"| `{each.TYPE}` | {each.PRIORITY.name.lower()} | {meaning} | {_fields(each)} |")
        return "\n".join(rows)


def _fields(kind: type[EventData]) -> str:
    docs = field_docs(kind)
    shown: list[str] = []
    for field in msgspec.structs.fields(kind):
        name = f"`{field.name}`" + ("" if field.required else "?")
        text = " ".join(docs.get(field.name, "").split()).rstrip(".")
        shown.append(f"{name} ({text})" if text else name)
    return ", ".join(shown)
