"""Checks of the node's side of an app: starter, virtual source, decisions, events and restarts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pkgutil import resolve_name
from typing import Any

import msgspec
import numpy as np

from common.app.edge import EdgeApp, Reading
from common.app.events import fields_of
from common.authoring.check.checks import Check, CheckSkipped, require
from common.authoring.check.subject import AppUnderCheck, as_received, comparable, process_all
from common.authoring.check.subjects import CHECKS as SUBJECT_CHECKS
from common.edge.processing.state import decode_state, encode_state
from common.errors import ReadingError
from common.messages import Event, Priority, encode_event
from common.model.golden import check_golden

STARTER_LIMIT_BYTES = 15_000_000
"""Most bytes of one model file of a starter."""
EVENT_LIMIT_BYTES = 4096
FAULTY_READINGS = 12
STATE_READINGS = 1200
STATE_GROWTH = 1.5
STATE_SLACK_BYTES = 4096
STATE_READINGS_BYTES = 64 * 1024**2
"""Most readings, by the memory of their values, on which the state is observed."""


def _starter(app: AppUnderCheck) -> None:
    bundle = app.starter
    for model in bundle.manifest.model_files():
        size = (bundle.path / model.file).stat().st_size
        require(size < STARTER_LIMIT_BYTES, f"{model.file} has {size} bytes; at most {STARTER_LIMIT_BYTES}")
    require(bundle.manifest.lineage.data, "the starter's lineage names no data")
    require(bundle.manifest.licence, "the starter has no licence")
    check_golden(bundle, app.model)


def _own_settings(app: AppUnderCheck) -> None:
    unknown = sorted(set(app.spec.own_settings) - set(app.spec.settings.__struct_encode_fields__))
    require(not unknown, f"AppSpec.own_settings names {', '.join(unknown)}, which the app has not")


def _documented(app: AppUnderCheck) -> None:
    spec = app.spec
    parts = {
        "edge": spec.load_edge(),
        "cloud": spec.load_cloud(),
        "train": spec.load_train(),
        "virtual": spec.load_virtual(),
        "settings": spec.settings,
    }
    for name, part in parts.items():
        text = part.__doc__ or type(part).__doc__ or ""
        require(text.strip(), f"its part {name!r} has no docstring")


def _virtual_repeats(app: AppUnderCheck) -> None:
    source = app.open_virtual()
    source.close()
    require(source.virtual, "the virtual source does not declare itself virtual")
    for first, again in zip(app.readings[:50], app.virtual_readings(50), strict=True):
        require(
            first.position == again.position, f"position {first.position} is {again.position} the next time"
        )
        same = np.array_equal(first.values, again.values, equal_nan=True)
        require(same, f"reading {first.position} has other values the next time with the same seed")


def _virtual_resumes(app: AppUnderCheck) -> None:
    source = app.open_virtual()
    following = next(iter(source.readings(app.readings[30].position)))
    source.close()
    wanted = app.readings[31]
    require(isinstance(following, Reading), f"after position {app.readings[30].position} comes no reading")
    if isinstance(following, Reading):
        same = following.position == wanted.position and np.array_equal(following.values, wanted.values)
        require(same, f"after position {app.readings[30].position} comes not reading {wanted.position}")


def _deterministic(app: AppUnderCheck) -> None:
    require(app.events, f"{len(app.readings)} virtual readings give no event")
    again = process_all(app.new_edge(), app.readings)
    require(_same(app.results, again), "the same readings give other events or samples the second time")


def _readings_unchanged(app: AppUnderCheck) -> None:
    edge = app.new_edge()
    for reading in app.readings[:60]:
        before = reading.values.copy()
        list(edge.process(reading, reading.captured_ns))
        same = np.array_equal(reading.values, before, equal_nan=True)
        require(same, f"process changes the values of reading {reading.position}")


def _unusable(app: AppUnderCheck) -> None:
    edge, untouched = app.new_edge(), app.new_edge()
    process_all(edge, app.readings[:40])
    process_all(untouched, app.readings[:40])
    good = app.readings[40]
    bad_values = {
        "one column only": good.values[..., :1],
        "NaN only": np.full_like(good.values, np.nan, float),
    }
    for what, values in bad_values.items():
        bad = Reading(good.subject, good.captured_ns, good.position, values, good.channels[:1])
        try:
            list(edge.process(bad, good.captured_ns))
        except ReadingError as error:
            require(
                good.subject in str(error), f"the refusal of a reading does not name {good.subject}: {error}"
            )
        else:
            require(False, f"a reading with {what} raises no ReadingError")
    rest = app.readings[40:90]
    same = _same(process_all(edge, rest), process_all(untouched, rest))
    require(same, "a refused reading changes the decisions that follow")


def _wire(app: AppUnderCheck) -> None:
    version = app.context.model.manifest.version
    for result in app.results:
        if not isinstance(result, Event):
            scores = result.reasons.values()
            require(all(0 <= score <= 1 for score in scores), f"a sample's scores are {dict(result.reasons)}")
            msgspec.json.encode(result.attributes)
            continue
        require(
            result.type.startswith(f"{app.spec.name}."),
            f"the event type {result.type!r} does not begin with '{app.spec.name}.'",
        )
        data = fields_of(result)
        require(data.get("version") == version, f"{result.type} does not carry the model's version")
        for name, value in data.items():
            finite = not isinstance(value, float) or math.isfinite(value)
            require(finite, f"{result.type} has {name} = {value}")
        size = len(encode_event(result, source="/site/node", epoch="e1", seq=1))
        require(size < EVENT_LIMIT_BYTES, f"{result.type} has {size} bytes; at most {EVENT_LIMIT_BYTES}")


def _declared(app: AppUnderCheck) -> None:
    if not app.spec.events:
        raise CheckSkipped("the app has no declaration of its events")
    declared = app.spec.load_events()
    for event in app.events:
        require(
            declared.decode(as_received(event)) == event.data, f"{event.type} is not decoded as it was made"
        )
    known = {each.TYPE for each in declared}
    unknown = [name for name in app.spec.alarm_ends if name not in known]
    require(not unknown, f"alarm_ends names {', '.join(unknown)}, which is not declared")


def _readme(app: AppUnderCheck) -> None:
    if not app.spec.events:
        raise CheckSkipped("the app has no declaration of its events")
    folder = app.spec.starter.parent
    found = [path for path in (folder / "README.md", folder.parent / "README.md") if path.is_file()]
    if not found:
        raise CheckSkipped("the app is installed without its README")
    table = app.spec.load_events().table()
    require(
        any(table in path.read_text("utf-8") for path in found),
        f"{found[0]} does not print the events as they are declared; the table is now\n{table}",
    )


def _restored(app: AppUnderCheck) -> None:
    """Killed at random points, the app goes on from its last checkpoint and the readings behind it."""
    rng = np.random.default_rng(11)
    expected = [[comparable(r) for r in results] for results in _each(app.new_edge(), app.readings[:260])]
    edge, checkpoint, at = app.new_edge(), encode_state(app.new_edge().snapshot()), 0
    position = 0
    while position < len(expected):
        for reading in app.readings[position : position + int(rng.integers(1, 20))][
            : len(expected) - position
        ]:
            found = [comparable(r) for r in edge.process(reading, reading.captured_ns)]
            require(
                found == expected[position],
                f"reading {reading.position} is decided otherwise {position - at} readings after a restart",
            )
            position += 1
        if rng.random() < 0.5:
            checkpoint, at = encode_state(edge.snapshot()), position
        if rng.random() < 0.5:
            edge = app.new_edge()
            edge.restore(decode_state(checkpoint))
            position = at


def _bad_day(app: AppUnderCheck) -> None:
    day = _mishandled(app.readings[:200])
    whole = _with_refusals(app.new_edge(), day)
    edge, found = app.new_edge(), list[Any]()
    for begin in range(0, len(day), 7):
        saved = encode_state(edge.snapshot())
        edge = app.new_edge()
        edge.restore(decode_state(saved))
        found += _with_refusals(edge, day[begin : begin + 7])
    require(found == whole, "restarts among lost, duplicated, late or cut readings change the decisions")


def _late_or_lost(app: AppUnderCheck) -> None:
    readings = app.readings
    parts = {
        "that come late": readings[60:160],
        "of which every second is lost": readings[:160:2],
        "with a gap of 50": [*readings[:40], *readings[90:160]],
    }
    for what, part in parts.items():
        results = _with_refusals(app.new_edge(), part)
        require(any(isinstance(result, Event) for result in results), f"readings {what} give no event")


def _ranges(app: AppUnderCheck) -> None:
    if not app.spec.ranges:
        raise CheckSkipped("the app declares no ranges of its channels")
    edge, coming = app.new_edge(), iter(app.readings)
    for reading in coming:
        raised = edge.process(reading, reading.captured_ns)
        if any(isinstance(each, Event) and each.priority is Priority.ALARM for each in raised):
            break
    following = list(coming)[:FAULTY_READINGS]
    require(len(following) == FAULTY_READINGS, "the virtual source raises no alarm early enough")
    before = encode_state(edge.snapshot())
    for channel, (low, high) in resolve_name(app.spec.ranges).items():
        for value in (low - 1.0, high + 1.0, 1e30, -np.inf):
            edge = app.new_edge()
            edge.restore(decode_state(before))
            given = _with_refusals(edge, [_with_value(reading, channel, value) for reading in following])
            events = [result for result in given if isinstance(result, Event)]
            cleared = [event.type for event in events if event.type.endswith("_cleared")]
            require(not cleared, f"{channel} = {value} clears an alarm ({', '.join(cleared)})")
            faults = [fields_of(event)["sensor"] for event in events if event.type.endswith(".sensor_fault")]
            require(faults == [channel], f"{channel} = {value} is reported as a fault of {faults}")


def _state_bounded(app: AppUnderCheck) -> None:
    edge = app.new_edge()
    fitting = STATE_READINGS_BYTES // max(1, app.readings[0].values.nbytes)
    readings = app.virtual_readings(min(STATE_READINGS, fitting), seed="12")
    half = len(readings) // 2
    process_all(edge, readings[:half])
    before = len(encode_state(edge.snapshot()))
    process_all(edge, readings[half:])
    after = len(encode_state(edge.snapshot()))
    require(
        after <= STATE_GROWTH * before + STATE_SLACK_BYTES,
        f"the state grows with the readings: {before} bytes after {half}, {after} after {len(readings)}",
    )


def _each(edge: EdgeApp, readings: Sequence[Reading]) -> list[list[Any]]:
    return [list(edge.process(reading, reading.captured_ns)) for reading in readings]


def _same(first: Sequence[Any], second: Sequence[Any]) -> bool:
    return [comparable(r) for r in first] == [comparable(r) for r in second]


def _with_refusals(edge: EdgeApp, readings: Sequence[Reading]) -> list[Any]:
    """Results, and refusals as their text."""
    results: list[Any] = []
    for reading in readings:
        try:
            results += [comparable(result) for result in edge.process(reading, reading.captured_ns)]
        except ReadingError as error:
            results.append(str(error))
    return results


def _with_value(reading: Reading, channel: str, value: float) -> Reading:
    values = reading.values.astype(np.float64)
    values[..., reading.channels.index(channel)] = value
    return replace(reading, values=values)


def _mishandled(readings: Sequence[Reading]) -> list[Reading]:
    """The readings, some of them lost, duplicated, late, cut or without a value."""
    rng = np.random.default_rng(5)
    found: list[Reading] = []
    for reading in readings:
        kind = rng.integers(0, 20)
        if kind == 0:
            continue
        if kind == 1:
            found.append(reading)
        if kind == 2 and len(found) > 3:
            found.append(found[-3])
        if kind == 3:
            reading = replace(reading, values=reading.values[..., :1], channels=reading.channels[:1])
        if kind == 4 and reading.channels:
            reading = _with_value(reading, reading.channels[-1], np.nan)
        found.append(reading)
    return found


CHECKS = [
    Check("starter", "the starter is a whole bundle of the app that passes its golden cases", _starter),
    Check("own-settings", "what only the node decides are settings of the app", _own_settings),
    Check("documented", "every part has a docstring", _documented),
    Check(
        "virtual-repeats", "the virtual source is virtual, and the same for the same seed", _virtual_repeats
    ),
    Check("virtual-resumes", "the virtual source goes on after a position", _virtual_resumes),
    Check("deterministic", "the same readings give the same events and samples", _deterministic),
    Check("readings-unchanged", "process does not change a reading", _readings_unchanged),
    Check("unusable", "an unusable reading is refused and changes nothing", _unusable),
    Check("wire", "events fit the wire, begin with the app's name and carry the model's version", _wire),
    Check("declared", "events are decoded as they were made", _declared),
    Check("readme", "the README prints the events as they are declared", _readme),
    Check("restart", "restored from a checkpoint, the app decides as if it had never ended", _restored),
    Check("bad-day", "restarts among lost, duplicated, late and cut readings change no decision", _bad_day),
    Check("late-or-lost", "lost readings and a late start do not stop the events", _late_or_lost),
    Check("ranges", "impossible values are reported by sensor and clear no alarm", _ranges),
    Check("state", "the state is bounded", _state_bounded),
    *SUBJECT_CHECKS,
]
