"""Alarms of the ECG app on virtual patients, and the signal that leaves the node by consent."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from apps.ecg.app import SPEC
from apps.ecg.events import Alarm, Strip
from common.app.edge import EdgeContext, Reading, Sample
from common.app.events import fields_of
from common.bundle import open_bundle
from common.messages import Event
from common.model.inference import load_model
from common.model.profile import find_profile

PAUSE_S = (40, 46)
GRANTED_S = 10.0
"""Maximum delay of an alarm of high priority."""


def decided(seconds: int, episodes: str = "", **settings: Any) -> list[Event | Sample]:
    """Results of a node on the first seconds of a virtual patient, with the starter."""
    model = load_model(open_bundle(SPEC.starter, app=SPEC.name), find_profile("cpu"))
    app = SPEC.load_edge()(EdgeContext(SPEC.settings(**settings), model))
    patient = {"seed": "3", "heart_rate": "70", "pvc": "0", "pac": "0", "episodes": episodes}
    source = SPEC.load_virtual()("patient", patient, 0.0)
    return [
        result
        for reading in itertools.islice(source.readings(None), seconds)
        if isinstance(reading, Reading)
        for result in app.process(reading, reading.captured_ns)
    ]


def raised(results: list[Event | Sample], alarm: str) -> list[dict[str, Any]]:
    """Alarms of this name that were raised."""
    alarms = [
        dict(fields_of(each)) for each in results if isinstance(each, Event) and each.type == Alarm.TYPE
    ]
    return [each for each in alarms if (each["alarm"], each["state"]) == (alarm, "raised")]


def test_a_heart_that_pauses_raises_an_alarm_of_high_priority_in_time() -> None:
    (alarm,) = raised(decided(60, "pause:{}-{}".format(*PAUSE_S)), "asystole")
    assert alarm["priority"] == "high"
    assert alarm["value"] >= alarm["limit"]
    assert alarm["delay_s"] < GRANTED_S


def test_a_heart_in_sinus_rhythm_raises_no_alarm_of_a_pause() -> None:
    results = decided(60)
    assert results
    assert not [alarm for name in ("asystole", "pause") for alarm in raised(results, name)]


@pytest.mark.parametrize(
    ("consent", "strips", "windows"),
    [("findings", False, False), ("strips", True, False), ("learning", True, True)],
)
def test_signal_leaves_the_node_by_consent_only(consent: str, strips: bool, windows: bool) -> None:
    results = decided(65, "pause:{}-{}".format(*PAUSE_S), consent=consent)
    assert any(isinstance(each, Event) and each.type == Strip.TYPE for each in results) == strips
    assert any(isinstance(each, Sample) for each in results) == windows
