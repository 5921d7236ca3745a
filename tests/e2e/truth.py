"""Expected and stored events: the two sides of every loss test.

Expected events come from replaying a node's deterministic source through the app without a node; stored
events come from the cloud's API, and counts from its database.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.demo.world.world import CloudSite, EdgeNode
from common.app.edge import EdgeContext, Reading
from common.app.spec import find_app
from common.bundle import open_bundle
from common.cloud_client import CloudClient
from common.messages import Event, Priority
from common.model.inference import load_model
from common.model.profile import find_profile
from tests.waiting import PATIENCE_S

TALLY = Path(__file__).with_name("tally")


@dataclass(frozen=True, slots=True)
class Stored:
    """One event as stored by the cloud."""

    epoch: str
    seq: int
    type: str
    subject: str
    time_ns: int
    priority: str
    data: dict[str, Any]


def expected_events(seed: int, count: int) -> Iterator[tuple[str, str, int, str, dict[str, Any]]]:
    """``(type, subject, time_ns, priority, data)`` of all events of a tally node after ``count`` readings."""
    if str(TALLY) not in sys.path:
        sys.path.append(str(TALLY))
    spec = find_app("tally")
    model = load_model(open_bundle(spec.starter, app="tally"), find_profile("cpu"))
    app = spec.load_edge()(EdgeContext(spec.settings(), model))
    source = spec.load_virtual()("tally", {"seed": str(seed), "count": str(count)}, 0.0)
    for reading in source.readings(None):
        assert isinstance(reading, Reading)
        for event in app.process(reading, reading.captured_ns):
            assert isinstance(event, Event)
            assert isinstance(event.data, Mapping)
            yield (
                event.type,
                event.subject,
                event.time_ns,
                Priority(event.priority).name.lower(),
                dict(event.data),
            )


def stored_count(cloud: CloudSite, type_prefix: str) -> int:
    """Events in the cloud's database by type prefix; readable while the cloud is down."""
    database = cloud.folder / "cloud.sqlite"
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=PATIENCE_S)) as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM event WHERE type >= ? AND type < ?",
                (type_prefix, type_prefix + "\U0010ffff"),
            ).fetchone()
            return count
    except sqlite3.OperationalError:
        return 0


def stored_events(client: CloudClient, node: str) -> list[Stored]:
    """All events of a node as the API lists them."""
    return [
        Stored(
            event["epoch"],
            event["seq"],
            event["type"],
            event["subject"],
            event["time_ns"],
            event["priority"],
            event["data"],
        )
        for event in client.pages(f"/v1/nodes/{node}/events", limit=500)
    ]


def outbox_rows(node: EdgeNode) -> int:
    """Unacknowledged events of a stopped node."""
    with closing(sqlite3.connect(f"file:{node.data / 'outbox.sqlite'}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM events").fetchone()
        return count


def committed_position(node: EdgeNode) -> int:
    """Position of the last reading whose events the node has committed."""
    with closing(sqlite3.connect(f"file:{node.data / 'outbox.sqlite'}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT position FROM meta").fetchone()[0] or 0)


def check_streams(events: list[Stored]) -> None:
    """No sequence number is missing or double in any epoch, and nothing was given up."""
    by_epoch: dict[str, list[int]] = {}
    for event in events:
        by_epoch.setdefault(event.epoch, []).append(event.seq)
        assert event.type != "edgeloop.gap", event
    for epoch, numbers in by_epoch.items():
        assert sorted(numbers) == list(range(1, len(numbers) + 1)), f"epoch {epoch} has holes or doubles"
