"""Conditions of alarms."""

from __future__ import annotations

from typing import Any

import pytest

from apps.ecg.app import EcgSettings
from apps.ecg.edge.conditions import HEART_ALARMS, PatientState, observe

MANY = EcgSettings().ventricular_beats_per_minute + 1


@pytest.mark.parametrize(("good_share", "present"), [(1.0, True), (0.5, True), (0.4, None)])
def test_a_minute_with_little_signal_has_no_beat_conditions(good_share: float, present: bool | None) -> None:
    state = PatientState(False, False, 0.0, 70.0, (), MANY, good_share, 9, True)
    found = {each.name: each.present for each in observe(state, EcgSettings(), ())}
    assert found["frequent_ventricular_beats"] is present
    assert found["asystole"] is False


def test_nothing_of_the_heart_is_known_while_the_signal_is_withheld() -> None:
    state = PatientState(True, False, 9.0, 70.0, ("VT",), MANY, 1.0, 9, True)
    found = {each.name: each.present for each in observe(state, EcgSettings(), ())}
    assert [found[name] for name in HEART_ALARMS] == [None] * len(HEART_ALARMS)
    assert found["lead_off"] is False


@pytest.mark.parametrize(
    ("name", "seen", "gone"),
    [
        ("asystole", {"beats_seen": 0}, {"beats_seen": 1}),
        ("pause", {"beats_seen": 0}, {"beats_seen": 1}),
        ("ventricular_tachycardia", {"beats_seen": 3}, {"beats_seen": 4}),
        ("atrial_fibrillation", {"rhythm_decided": False}, {"rhythm_decided": True}),
        ("extreme_tachycardia", {"heart_rate_bpm": None}, {"heart_rate_bpm": 70.0}),
    ],
)
def test_nothing_is_over_before_the_signal_shows_it(
    name: str, seen: dict[str, Any], gone: dict[str, Any]
) -> None:
    back = PatientState(False, False, 1.0, 70.0, (), 0, 1.0, 9, True)
    for changes, present in ((seen, None), (gone, False)):
        found = {e.name: e.present for e in observe(back._replace(**changes), EcgSettings(), (name,))}
        assert found[name] is present
