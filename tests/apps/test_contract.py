"""What every installed app promises, checked on its own virtual source and starter model."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from pkgutil import resolve_name

import msgspec
import numpy as np
import pytest

from common.app.edge import EdgeApp, EdgeContext, Reading, Sample
from common.app.events import fields_of
from common.app.spec import AppSpec
from common.bundle import open_bundle
from common.errors import ReadingError
from common.messages import Event, encode_event
from tests.apps.contract import as_received, comparable, context_of, installed, virtual_readings

READINGS = 400


@pytest.fixture(scope="module", params=installed())
def spec(request: pytest.FixtureRequest) -> AppSpec:
    return installed()[request.param]


@pytest.fixture(scope="module")
def readings(spec: AppSpec) -> list[Reading]:
    return virtual_readings(spec, READINGS)


@pytest.fixture(scope="module")
def context(spec: AppSpec) -> EdgeContext:
    return context_of(spec)


def run(app: EdgeApp, readings: list[Reading]) -> Iterator[Event | Sample]:
    for reading in readings:
        yield from app.process(reading, reading.captured_ns)


def test_the_starter_is_a_whole_bundle_of_this_app_under_15_mb(spec: AppSpec) -> None:
    bundle = open_bundle(spec.starter, app=spec.name)
    assert sum((bundle.path / name).stat().st_size for name in bundle.files()) < 15 * 1024 * 1024
    assert bundle.manifest.lineage.data
    assert bundle.manifest.licence


def test_the_app_and_its_parts_say_what_they_are(spec: AppSpec) -> None:
    for part in (spec.load_edge(), spec.load_cloud(), spec.load_train(), spec.load_virtual(), spec.settings):
        assert (part.__doc__ or type(part).__doc__ or "").strip()


def test_the_apps_pages_take_a_site(spec: AppSpec) -> None:
    if spec.pages is not None:
        assert list(inspect.signature(resolve_name(spec.pages)).parameters) == ["site"]


def test_a_virtual_source_says_so_and_repeats_itself(spec: AppSpec, readings: list[Reading]) -> None:
    source = spec.load_virtual()(spec.virtual_kinds[0], {"seed": "11"}, 0.0)
    assert source.virtual
    source.close()
    for first, second in zip(readings[:50], virtual_readings(spec, 50), strict=True):
        assert first.position == second.position
        assert np.array_equal(first.values, second.values)


def test_a_source_goes_on_after_a_position(spec: AppSpec, readings: list[Reading]) -> None:
    source = spec.load_virtual()(spec.virtual_kinds[0], {"seed": "11"}, 0.0)
    following = next(iter(source.readings(readings[30].position)))
    source.close()
    assert following.position == readings[31].position
    assert np.array_equal(following.values, readings[31].values)


def test_the_same_readings_give_the_same_events(
    spec: AppSpec, context: EdgeContext, readings: list[Reading]
) -> None:
    first = [comparable(r) for r in run(spec.load_edge()(context), readings)]
    second = [comparable(r) for r in run(spec.load_edge()(context), readings)]
    assert first
    assert first == second


def test_a_reading_is_not_changed(spec: AppSpec, context: EdgeContext, readings: list[Reading]) -> None:
    app = spec.load_edge()(context)
    for reading in readings[:60]:
        before = reading.values.copy()
        reading.values.flags.writeable = False
        list(app.process(reading, reading.captured_ns))
        assert np.array_equal(reading.values, before)


def test_a_restored_app_goes_on_as_if_nothing_had_happened(
    spec: AppSpec, context: EdgeContext, readings: list[Reading]
) -> None:
    app = spec.load_edge()(context)
    list(run(app, readings[:150]))
    from common.edge.processing.state import decode_state, encode_state

    other = spec.load_edge()(context)
    other.restore(decode_state(encode_state(app.snapshot())))
    rest = readings[150:]
    assert [comparable(r) for r in run(other, rest)] == [comparable(r) for r in run(app, rest)]


def test_an_unusable_reading_is_refused_and_changes_nothing(
    spec: AppSpec, context: EdgeContext, readings: list[Reading]
) -> None:
    app, untouched = spec.load_edge()(context), spec.load_edge()(context)
    list(run(app, readings[:40]))
    list(run(untouched, readings[:40]))
    good = readings[40]
    for values in (good.values[..., :1], np.full_like(good.values, np.nan, dtype=np.float64)):
        bad = Reading(good.subject, good.captured_ns, good.position, values, good.channels[:1])
        with pytest.raises(ReadingError, match=good.subject):
            list(app.process(bad, good.captured_ns))
    rest = readings[40:90]
    assert [comparable(r) for r in run(app, rest)] == [comparable(r) for r in run(untouched, rest)]


def test_events_fit_the_wire_and_carry_the_model_version(
    spec: AppSpec, context: EdgeContext, readings: list[Reading]
) -> None:
    for result in run(spec.load_edge()(context), readings):
        if isinstance(result, Event):
            assert result.type.startswith(f"{spec.name}.")
            data = fields_of(result)
            assert data["version"] == context.model.manifest.version
            body = encode_event(result, source="/s/n", epoch="e", seq=1)
            assert not any(isinstance(v, float) and not math.isfinite(v) for v in data.values())
            assert len(body) < 4096
        else:
            assert all(0 <= score <= 1 for score in result.reasons.values())
            msgspec.json.encode(result.attributes)


def test_every_event_is_declared_and_decoded_as_it_was_made(
    spec: AppSpec, context: EdgeContext, readings: list[Reading]
) -> None:
    declared = spec.load_events()
    if not spec.events:
        pytest.skip(f"{spec.name} has no declaration of its events")
    made = [r for r in run(spec.load_edge()(context), readings) if isinstance(r, Event)]
    assert made
    for event in made:
        assert declared.decode(as_received(event)) == event.data


def test_the_readme_prints_the_events_as_they_are_declared(spec: AppSpec) -> None:
    if not spec.events:
        pytest.skip(f"{spec.name} has no declaration of its events")
    table = spec.load_events().table()
    assert table in (spec.starter.parent / "README.md").read_text("utf-8"), f"its table is now\n{table}"
