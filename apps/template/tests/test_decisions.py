"""The alarm of the template app, and what its training makes of labelled windows."""

from __future__ import annotations

import itertools
from pathlib import Path

from apps.template.app import SPEC
from apps.template.domain import CONDITION, WINDOW_READINGS
from apps.template.events import Alarm, AlarmCleared
from apps.template.training.job import evaluate, gate, train
from common.app.edge import EdgeContext, Reading, Sample
from common.app.training import Label, LabelledSample, TrainContext
from common.bundle import open_bundle
from common.messages import Event
from common.model.inference import load_model
from common.model.profile import find_profile

STARTER = open_bundle(SPEC.starter, app=SPEC.name)


def decided(fault: str, readings: int, seed: int = 5) -> list[Event | Sample]:
    """Results of a node on a virtual machine with this fault."""
    app = SPEC.load_edge()(EdgeContext(SPEC.settings(), load_model(STARTER, find_profile("cpu"))))
    source = SPEC.load_virtual()("machine", {"seed": str(seed), "fault": fault}, 0.0)
    return [
        result
        for reading in itertools.islice(source.readings(None), readings)
        if isinstance(reading, Reading)
        for result in app.process(reading, reading.captured_ns)
    ]


def labelled(fault: str, faulty: bool, first_seed: int) -> list[LabelledSample]:
    """Windows of three machines with their label."""
    windows = [
        result
        for seed in range(first_seed, first_seed + 3)
        for result in decided(fault, 2 * WINDOW_READINGS, seed)
        if isinstance(result, Sample)
    ]
    return [
        LabelledSample(
            f"{each.group}",
            each,
            [Label(SPEC.name, each.subject, each.group, CONDITION, {"faulty": faulty}, "test", 1)],
            held_out=False,
        )
        for each in windows
    ]


def test_the_alarm_is_raised_in_a_fault_and_ends_after_it() -> None:
    results = decided("imbalance:60-100", 150)
    alarms = [(r.type, n) for n, r in enumerate(results) if isinstance(r, Event) and "alarm" in r.type]
    (raised, raised_at), (cleared, cleared_at) = alarms
    assert (raised, cleared) == (Alarm.TYPE, AlarmCleared.TYPE)
    assert 60 <= raised_at < 75
    assert 100 <= cleared_at < 115


def test_a_machine_without_a_fault_raises_no_alarm() -> None:
    assert not [r for r in decided("", 150) if isinstance(r, Event) and r.type == Alarm.TYPE]


def test_a_window_of_an_unknown_fault_scores_higher_than_one_of_a_known_state() -> None:
    windows = [r for r in decided("overheating:32-64", 64) if isinstance(r, Sample)]
    known, unknown = (max(window.reasons.values()) for window in windows)
    assert unknown > 2 * known


def test_a_fault_that_was_labelled_is_learnt_and_the_known_one_kept(tmp_path: Path) -> None:
    lessons = labelled("overheating:0-64", True, 30) + labelled("", False, 40)
    exam = labelled("overheating:0-64", True, 50) + labelled("", False, 60)
    context = TrainContext("2.0.0", STARTER, lessons, tmp_path, None, 0, {}, lambda _share, _message: None)
    before, after = evaluate(STARTER, exam, None), evaluate(train(context), exam, None)
    assert after.slices["field"].value > before.slices["field"].value + 0.3
    assert after.slices["virtual"].value > before.slices["virtual"].value - gate.slice_tolerance
