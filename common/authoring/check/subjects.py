"""Checks of many subjects on one node: interleaving, capacity, and forgetting by time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from common.app.edge import EdgeApp, Reading
from common.app.events import fields_of
from common.authoring.check.checks import Check, CheckSkipped, require
from common.authoring.check.subject import READINGS_EACH, SUBJECTS, AppUnderCheck, comparable
from common.edge.processing.state import decode_state, encode_state
from common.errors import CapacityReached
from common.messages import Event

NEWCOMERS = 5000
MIN_MACHINES, MIN_PERSONS = 100, 40
YEARS_NS = 8 * 365 * 86_400 * 10**9
BySubject = Mapping[str, Sequence[Reading]]


def _readings(app: AppUnderCheck) -> BySubject:
    """Readings of several subjects. Raises `CheckSkipped` for an app without capacity."""
    if not app.spec.capacity:
        raise CheckSkipped("the app names no setting of its capacity: AppSpec.capacity")
    return app.subjects


def _interleaved(readings: BySubject) -> list[Reading]:
    return list(itertools.chain.from_iterable(zip(*readings.values(), strict=True)))


def _by_subject(edge: EdgeApp, readings: Iterable[Reading]) -> tuple[dict[str, list[Any]], list[str]]:
    """Results by subject, and the subject of every refusal."""
    given: dict[str, list[Any]] = {}
    refused: list[str] = []
    for reading in readings:
        try:
            for result in edge.process(reading, reading.captured_ns):
                given.setdefault(result.subject, []).append(comparable(result))
        except CapacityReached as error:
            refused.append(error.subject)
    return given, refused


def _moved(reading: Reading, subject: str, by_ns: int) -> Reading:
    return replace(reading, subject=subject, captured_ns=reading.captured_ns + by_ns)


def _forget_after_ns(app: AppUnderCheck) -> int:
    fields = app.spec.settings.__struct_fields__
    found = [f for f in fields if f.startswith("forget_") and f.rsplit("_", 1)[1] in ("hours", "days")]
    require(len(found) == 1, "the settings have not exactly one forget_..._after_hours or _days")
    hours = {"hours": 1, "days": 24}[found[0].rsplit("_", 1)[1]]
    return int(getattr(app.spec.settings(), found[0]) * hours * 3600e9)


def _interleaving(app: AppUnderCheck) -> None:
    of_each = _readings(app)
    together, refused = _by_subject(app.new_edge(), _interleaved(of_each))
    require(not refused, f"{SUBJECTS} subjects in turn are refused: {sorted(set(refused))}")
    require(len(together) == SUBJECTS, f"of {SUBJECTS} subjects only {sorted(together)} have results")
    for subject, readings in of_each.items():
        alone = _by_subject(app.new_edge(), readings)[0][subject]
        require(together[subject] == alone, f"{subject} is decided otherwise with others beside it")


def _capacity(app: AppUnderCheck) -> None:
    of_each = _readings(app)
    held = dict(list(of_each.items())[:-2])
    full, refused = _by_subject(app.new_edge(**{app.spec.capacity: len(held)}), _interleaved(of_each))
    require(
        refused == [*list(of_each)[-2:]] * READINGS_EACH,
        f"with {app.spec.capacity}={len(held)}, {len(refused)} of {2 * READINGS_EACH} readings of two "
        "newcomers are refused",
    )
    alone = _by_subject(app.new_edge(), _interleaved(held))[0]
    require(full == alone, "a refused newcomer changes the decisions on those that are held")


def _default_capacity(app: AppUnderCheck) -> None:
    if not app.spec.capacity:
        raise CheckSkipped("the app names no setting of its capacity: AppSpec.capacity")
    minimum = MIN_PERSONS if app.spec.pseudonyms else MIN_MACHINES
    value = getattr(app.spec.settings(), app.spec.capacity)
    require(value >= minimum, f"{app.spec.capacity} is {value} by default; at least {minimum}")


def _burst(app: AppUnderCheck) -> None:
    of_each = _readings(app)
    edge = app.new_edge(**{app.spec.capacity: SUBJECTS})
    _by_subject(edge, (readings[0] for readings in of_each.values()))
    size = len(encode_state(edge.snapshot()))
    first = of_each["subject-0"][0]
    _, refused = _by_subject(edge, (_moved(first, f"newcomer-{n}", n) for n in range(NEWCOMERS)))
    require(len(refused) == NEWCOMERS, f"{NEWCOMERS - len(refused)} of {NEWCOMERS} newcomers were held")
    grown = len(encode_state(edge.snapshot())) - size
    require(grown < 100, f"the state grows by {grown} bytes with {NEWCOMERS} refused newcomers")


def _forgetting(app: AppUnderCheck) -> None:
    of_each = _readings(app)
    edge = app.new_edge(**{app.spec.capacity: 1})
    old, new = list(of_each.values())[:2]
    _by_subject(edge, old[:40])
    step_ns = _forget_after_ns(app) // 3
    later = [_moved(new[0], "newcomer", n * step_ns) for n in range(4)]
    require(_by_subject(edge, later)[1] == ["newcomer"] * 4, "a subject is forgotten before its time")
    edge.restore(decode_state(encode_state(edge.snapshot())))
    arrived = [_moved(new[n], "newcomer", 3 * step_ns + 10**9) for n in range(40)]
    given, refused = _by_subject(edge, arrived)
    require(not refused, "a subject without readings is not forgotten: the newcomer has no room")
    gone = [event for event in given.get("subject-0", ()) if isinstance(event, Event)]
    reported = any(
        event.type.endswith("forgotten") or "forgotten" in fields_of(event).values() for event in gone
    )
    require(reported, "no event reports that a subject was forgotten")
    require(_by_subject(edge, old[40:41])[1] == ["subject-0"], "a forgotten subject is no newcomer")


def _wrong_clock(app: AppUnderCheck) -> None:
    of_each = _readings(app)
    edge = app.new_edge(**{app.spec.capacity: 2})
    wrong, right = list(of_each.values())[:2]
    _by_subject(edge, _interleaved({"a": wrong[:20], "b": right[:20]}))
    _by_subject(edge, [_moved(wrong[20], "subject-0", YEARS_NS), _moved(wrong[21], "newcomer", YEARS_NS)])
    given, refused = _by_subject(edge, right[20:])
    require(not refused, "a wrong clock makes the app forget a subject whose clock is right")
    rest = given["subject-1"]
    alone = _by_subject(app.new_edge(), right)[0]["subject-1"]
    require(rest == alone[-len(rest) :], "a wrong clock of one subject changes the decisions on another")


def _lowered_capacity(app: AppUnderCheck) -> None:
    of_each = _readings(app)
    turns = _interleaved(of_each)
    edge = app.new_edge()
    given, _ = _by_subject(edge, turns[:250])
    smaller = app.new_edge(**{app.spec.capacity: 2})
    smaller.restore(decode_state(encode_state(edge.snapshot())))
    rest, refused = _by_subject(smaller, turns[250:])
    require(not refused, "a lower capacity drops subjects that were held")
    whole = _by_subject(app.new_edge(), turns)[0]
    joined = {subject: [*given.get(subject, []), *rest.get(subject, [])] for subject in whole}
    require(joined == whole, "a lower capacity changes the decisions on subjects that were held")


CHECKS = [
    Check("interleaving", "subjects in turn are decided on as each alone", _interleaving),
    Check("capacity", "above its capacity the newcomer is refused, and the others go on", _capacity),
    Check("default-capacity", "the default holds 100 machines or 40 persons", _default_capacity),
    Check("burst", "a burst of newcomers leaves the state bounded", _burst),
    Check("forgetting", "a subject is forgotten by time and makes room", _forgetting),
    Check("wrong-clock", "one wrong clock forgets nobody", _wrong_clock),
    Check("lowered-capacity", "a lower capacity keeps those that are held", _lowered_capacity),
]
