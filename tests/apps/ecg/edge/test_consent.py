"""Signal that leaves the node: by consent, as strips and as training windows."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from apps.ecg.app import SPEC
from common.app.edge import Sample
from common.edge.update.app_settings import AppSettings
from common.errors import ConfigError, UpdateRefused
from common.messages import EVENT_LIMIT_BYTES, SettingsChange, encode_event
from tests.apps.ecg.edge.streams import START_NS, edge, events, run, virtual


@pytest.mark.parametrize(
    ("consent", "strips", "samples"), [("findings", 0, 0), ("strips", 1, 0), ("learning", 1, 1)]
)
def test_signal_leaves_by_consent_only(consent: str, strips: int, samples: int) -> None:
    results = run(edge(consent=consent), virtual(65, episodes="VT:40-45"))
    assert min(1, len(events(results, "strip"))) == strips
    offered = [r for r in results if isinstance(r, Sample)]
    assert min(1, len(offered)) == samples
    for sample in offered:
        length = 30 * 250
        assert sample.group == sample.subject == "patient-3"
        assert sample.arrays["signal"].shape == (length, 1)
        assert sample.arrays["signal"].dtype == np.int16
        assert len(sample.arrays["peaks"]) == len(sample.arrays["kinds"]) > 20
        assert 0 <= sample.arrays["peaks"].min() < sample.arrays["peaks"].max() < length
        assert all(0 <= score <= 1 for score in sample.reasons.values())


@pytest.mark.parametrize(("rate_hz", "leads"), [(250, "II"), (1000, "12")])
def test_a_strip_is_the_signal_around_its_alarm(rate_hz: int, leads: str) -> None:
    readings = virtual(30, episodes="VT:14-19", rate_hz=str(rate_hz), leads=leads)
    results = run(edge(consent="strips"), readings)
    (raised,) = events(results, "alarm", alarm="ventricular_tachycardia", state="raised")
    (strip,) = events(results, "strip", alarm="ventricular_tachycardia")
    data = strip.data
    assert len(encode_event(strip, source="/s/n", epoch="e", seq=1)) < EVENT_LIMIT_BYTES
    assert (raised.time_ns - data["began_ns"]) / 1e9 == pytest.approx(5.0)
    steps = np.frombuffer(base64.b64decode(data["samples_b64"]), "<i2").reshape(-1, len(data["leads"]))
    assert len(steps) / data["rate_hz"] == pytest.approx(10, abs=0.01)
    assert 250 <= data["rate_hz"] <= 500
    signal = np.concatenate([reading.values for reading in readings])
    begin = round((data["began_ns"] - START_NS) / 1e9 * rate_hz)
    factor = round(rate_hz / data["rate_hz"])
    truth = signal[begin : begin + len(steps) * factor].reshape(len(steps), factor, -1).mean(axis=1)
    assert np.abs(steps * data["lsb_mv"] - truth).max() < 0.006
    assert sum(beat["kind"] == "V" for beat in data["beats"]) >= 3
    assert all(0 <= beat["at_ms"] <= 10_000 for beat in data["beats"])
    assert max(beat["at_ms"] for beat in data["beats"]) > 8_700  # It waits for its last beats.


@pytest.mark.parametrize(
    ("parameters", "alarm", "rhythm"),
    [
        ({"episodes": "VT:14-17"}, "ventricular_tachycardia", "VT"),
        ({"episodes": "AF:10-60"}, "atrial_fibrillation", "AF"),
        ({"noise": "lead_off:10-40"}, "lead_off", "unknown"),
    ],
)
def test_a_strip_has_the_rhythm_of_its_own_time(parameters: dict[str, str], alarm: str, rhythm: str) -> None:
    results = run(edge(consent="strips"), virtual(60, **parameters))
    assert [strip.data["rhythm"] for strip in events(results, "strip", alarm=alarm)] == [rhythm]


def test_a_training_window_includes_a_run_that_has_ended() -> None:
    results = run(edge(consent="learning"), virtual(65, episodes="VT:40-45"))
    rhythms = {
        (r.captured_ns - START_NS) // 10**9: r.attributes["rhythm"] for r in results if isinstance(r, Sample)
    }
    assert rhythms[max(rhythms)] == "VT"


def test_no_cloud_changes_the_consent(tmp_path: Path) -> None:
    settings = AppSettings(SPEC, {"consent": "strips"}, tmp_path, {})
    for wanted in ("learning", None):
        with pytest.raises(UpdateRefused, match="consent is decided on the node"):
            settings.propose(SettingsChange(1, {"consent": wanted}), {})
        with pytest.raises(ConfigError, match="consent is decided on the node"):
            settings.settings({"consent": wanted})
    assert settings.settings({}).consent == "strips"
