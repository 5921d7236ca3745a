"""Subjects without room are reported once an hour each, and never fill memory or outbox."""

from __future__ import annotations

from common.app.events import fields_of
from common.edge.processing.refusals import EVERY_NS, SUBJECTS_LIMIT, RefusedSubjects
from common.errors import CapacityReached

NOW_NS = 10**18


def refusal(subject: str) -> CapacityReached:
    return CapacityReached(f"{subject} is refused", subject, 2)


def test_each_subject_is_reported_once_an_hour_however_many_readings_it_gives() -> None:
    refused = RefusedSubjects("node-1")
    for _ in range(100):
        refused.add(refusal("engine-3"), NOW_NS)
        refused.add(refusal("engine-4"), NOW_NS)
    events = refused.events(NOW_NS)
    assert [(event.subject, fields_of(event)["problem"], fields_of(event)["count"]) for event in events] == [
        ("engine-3", "capacity", 100),
        ("engine-4", "capacity", 100),
    ]
    refused.add(refusal("engine-3"), NOW_NS + EVERY_NS - 1)
    assert not refused.events(NOW_NS + EVERY_NS - 1)
    assert [event.subject for event in refused.events(NOW_NS + EVERY_NS)] == ["engine-3"]


def test_who_is_not_refused_any_more_is_not_counted_any_more() -> None:
    refused = RefusedSubjects("node-1")
    refused.add(refusal("engine-3"), NOW_NS)
    refused.events(NOW_NS)
    assert refused.subjects == 1
    refused.events(NOW_NS + EVERY_NS + 1)
    assert (refused.subjects, refused.readings, refused.detail) == (0, 1, "")


def test_a_flood_of_names_is_reported_together() -> None:
    refused = RefusedSubjects("node-1")
    for number in range(50 * SUBJECTS_LIMIT):
        refused.add(refusal(f"engine-{number}"), NOW_NS)
    events = refused.events(NOW_NS)
    assert len(events) == SUBJECTS_LIMIT + 1 == refused.subjects
    assert events[-1].subject == "node-1"
    assert str(SUBJECTS_LIMIT) in fields_of(events[-1])["detail"]
    assert sum(fields_of(event)["count"] for event in events) == refused.readings == 50 * SUBJECTS_LIMIT
