"""What every installed app promises about many subjects: interleaving, capacity, forgetting by time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from common.app.edge import EdgeApp, EdgeContext, Reading
from common.app.events import fields_of
from common.app.spec import AppSpec
from common.edge.processing.state import decode_state, encode_state
from common.errors import CapacityReached
from common.messages import Event
from tests.apps.contract import comparable, context_of, installed, virtual_readings

READINGS = 150
SUBJECTS = 5


@pytest.fixture(scope="module", params=installed())
def spec(request: pytest.FixtureRequest) -> AppSpec:
    return installed()[request.param]


@pytest.fixture(scope="module")
def context(spec: AppSpec) -> EdgeContext:
    return context_of(spec)


@pytest.fixture(scope="module")
def of_each(spec: AppSpec) -> dict[str, list[Reading]]:
    """Readings of several subjects, each from a virtual sensor of its own."""
    return {
        f"subject-{number}": [
            replace(reading, subject=f"subject-{number}")
            for reading in virtual_readings(spec, READINGS, seed=str(20 + number))
        ]
        for number in range(SUBJECTS)
    }


def app_of(spec: AppSpec, context: EdgeContext, **settings: Any) -> EdgeApp:
    return spec.load_edge()(EdgeContext(spec.settings(**settings), context.model))


def interleaved(readings: dict[str, list[Reading]]) -> list[Reading]:
    return list(itertools.chain.from_iterable(zip(*readings.values(), strict=True)))


def by_subject(app: EdgeApp, readings: Iterable[Reading]) -> tuple[dict[str, list[Any]], list[str]]:
    """What an app gives, by subject, and the subject of every refusal."""
    given: dict[str, list[Any]] = {}
    refused: list[str] = []
    for reading in readings:
        try:
            for result in app.process(reading, reading.captured_ns):
                given.setdefault(result.subject, []).append(comparable(result))
        except CapacityReached as error:
            refused.append(error.subject)
    return given, refused


def forget_after_ns(spec: AppSpec) -> int:
    (name,) = (n for n in spec.settings.__struct_fields__ if n.startswith("forget_"))
    hours = {"hours": 1, "days": 24}[name.rsplit("_", 1)[1]]
    return int(getattr(spec.settings(), name) * hours * 3600e9)


def moved(reading: Reading, subject: str, by_ns: int) -> Reading:
    return replace(reading, subject=subject, captured_ns=reading.captured_ns + by_ns)


def test_subjects_in_turn_give_the_same_events_as_each_alone(
    spec: AppSpec, context: EdgeContext, of_each: dict[str, list[Reading]]
) -> None:
    together, refused = by_subject(app_of(spec, context), interleaved(of_each))
    assert not refused
    assert len(together) == SUBJECTS
    for subject, readings in of_each.items():
        assert together[subject] == by_subject(app_of(spec, context), readings)[0][subject]


def test_above_its_capacity_the_newcomer_is_refused_and_the_others_notice_nothing(
    spec: AppSpec, context: EdgeContext, of_each: dict[str, list[Reading]]
) -> None:
    held = dict(list(of_each.items())[:-2])
    full, refused = by_subject(app_of(spec, context, **{spec.capacity: len(held)}), interleaved(of_each))
    assert refused == [*list(of_each)[-2:]] * READINGS
    assert full == by_subject(app_of(spec, context), interleaved(held))[0]


def test_the_default_capacity_holds_a_hundred_machines_or_forty_patients(spec: AppSpec) -> None:
    assert getattr(spec.settings(), spec.capacity) >= (40 if spec.pseudonyms else 100)


def test_a_burst_of_newcomers_leaves_the_state_bounded(
    spec: AppSpec, context: EdgeContext, of_each: dict[str, list[Reading]]
) -> None:
    app = app_of(spec, context, **{spec.capacity: SUBJECTS})
    by_subject(app, (readings[0] for readings in of_each.values()))
    size = len(encode_state(app.snapshot()))
    first = of_each["subject-0"][0]
    _, refused = by_subject(app, (moved(first, f"newcomer-{n}", n) for n in range(5000)))
    assert len(refused) == 5000
    assert len(encode_state(app.snapshot())) < size + 100


def test_a_subject_is_forgotten_by_time_and_gives_its_room_to_a_newcomer(
    spec: AppSpec, context: EdgeContext, of_each: dict[str, list[Reading]]
) -> None:
    app = app_of(spec, context, **{spec.capacity: 1})
    old, new = list(of_each.values())[:2]
    by_subject(app, old[:40])
    step_ns = forget_after_ns(spec) // 3
    later = [moved(new[0], "newcomer", n * step_ns) for n in range(4)]
    assert by_subject(app, later)[1] == ["newcomer"] * 4, "not yet forgotten"
    app.restore(decode_state(encode_state(app.snapshot())))
    arrived = [moved(new[n], "newcomer", 3 * step_ns + 10**9) for n in range(40)]
    given, refused = by_subject(app, arrived)
    assert not refused
    gone = [event for event in given["subject-0"] if isinstance(event, Event)]
    assert any(event.type.endswith("forgotten") or "forgotten" in fields_of(event).values() for event in gone)
    assert by_subject(app, old[40:41])[1] == ["subject-0"], "it is a newcomer now"


def test_one_wrong_clock_forgets_nobody(
    spec: AppSpec, context: EdgeContext, of_each: dict[str, list[Reading]]
) -> None:
    app = app_of(spec, context, **{spec.capacity: 2})
    liar, honest = list(of_each.values())[:2]
    by_subject(app, interleaved({"a": liar[:20], "b": honest[:20]}))
    years_ns = 8 * 365 * 86_400 * 10**9
    by_subject(app, [moved(liar[20], "subject-0", years_ns), moved(liar[21], "newcomer", years_ns)])
    given, refused = by_subject(app, honest[20:])
    assert not refused
    assert (
        given["subject-1"]
        == by_subject(app_of(spec, context), honest)[0]["subject-1"][-len(given["subject-1"]) :]
    )


def test_a_lowered_capacity_keeps_whom_it_has(
    spec: AppSpec, context: EdgeContext, of_each: dict[str, list[Reading]]
) -> None:
    app = app_of(spec, context)
    turns = interleaved(of_each)
    given, _ = by_subject(app, turns[:250])
    smaller = app_of(spec, context, **{spec.capacity: 2})
    smaller.restore(decode_state(encode_state(app.snapshot())))
    rest, refused = by_subject(smaller, turns[250:])
    assert not refused
    whole = by_subject(app_of(spec, context), turns)[0]
    assert whole == {subject: [*given.get(subject, []), *rest[subject]] for subject in whole}
