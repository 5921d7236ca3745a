"""Noise: no false alarm where the signal is unreadable, and the withheld time is reported."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pytest

from apps.ecg.benchmarks.noise import (
    AF_ALARM,
    CLEAN,
    DEVELOPMENT_SEEDS,
    LEAD,
    NOISES,
    OWN,
    REPORTED_SEEDS,
    SNRS_DB,
    V_ALARMS,
    Detected,
    Outcome,
    figures,
    outcome,
    patient_with,
    starter_model,
    stretches,
    table,
)
from apps.ecg.benchmarks.noise_plot import plot
from apps.ecg.virtual.waves import lead_matrix, qrs_size_mv, waves_of


def made(seed: int, noise: str, snr_db: int | None, alarms: Counter[str]) -> Outcome:
    """Of a patient with 100 beats in noise of whom ``seed`` were found, and none on good signal."""
    detected = {
        OWN: Detected(100, seed, 200, seed),
        "good": Detected(0, 0, 0, 0),
        "neurokit2": Detected(100, 50, 100, 50),
        "sleepecg": Detected(100, 100, 100, 100),
    }
    return Outcome(seed, noise, snr_db, detected, 1800.0, 900.0, 1000.0, 10.0, 3, alarms, True)


def made_all() -> list[Outcome]:
    kinds = [(CLEAN, None), *((noise, snr_db) for noise in NOISES for snr_db in SNRS_DB)]
    alarms = Counter({V_ALARMS[0]: 1, AF_ALARM: 2, "pause": 3, "lead_off": 9})
    return [made(seed, noise, snr_db, alarms) for seed in (80, 90) for noise, snr_db in kinds]


def test_electrode_motion_at_0_db_raises_no_alarm_and_is_reported() -> None:
    seed = DEVELOPMENT_SEEDS[0]
    found = outcome(seed, "electrode_motion", 0, starter_model(), count=1, baselines=False)
    assert [alarm for alarm in found.alarms if alarm in (*V_ALARMS, AF_ALARM)] == []
    assert found.withheld_reported
    assert found.withheld_noisy_s > 0.9 * found.noisy_s
    assert found.withheld_clean_s < 0.05 * found.clean_s
    clean = outcome(seed, CLEAN, None, starter_model(), count=1, baselines=False)
    assert clean.withheld_noisy_s == clean.withheld_clean_s == 0
    assert clean.detected[OWN] == clean.detected["good"]
    assert clean.alarms == Counter()


def test_reported_patients_are_not_those_of_development() -> None:
    assert not set(REPORTED_SEEDS) & set(DEVELOPMENT_SEEDS)
    assert len(REPORTED_SEEDS) >= 5


@pytest.mark.parametrize("noise", NOISES)
def test_the_ratio_is_that_of_the_noise_stress_test(noise: str) -> None:
    spans = stretches(1)
    clean, noisy = (patient_with(7, kind, 6, spans).signal(0, 360 * 360)[:, 0] for kind in (CLEAN, noise))
    (span,) = [slice(360 * begin, 360 * end) for begin, end in spans]
    added = noisy - clean
    traits = patient_with(7, noise, 6, spans).heart.traits
    size_mv = float(qrs_size_mv(waves_of(traits), lead_matrix((LEAD,)))[0])
    assert 10 * np.log10(size_mv**2 / 8 / np.mean(added[span] ** 2)) == pytest.approx(6, abs=1)
    assert not added[: span.start].any()
    assert not added[span.stop :].any()


def test_figures_are_of_all_patients_together() -> None:
    found = figures(made_all())
    name = "ecg_noise_muscle_-6_db"
    sensitivity = found[f"{name}_sensitivity"]
    assert (sensitivity.value, sensitivity.lower, sensitivity.upper) == (85, 80, 90)
    assert found[f"{name}_ppv"].value == 42.5
    assert found[f"{name}_withheld"].value == 50
    assert found[f"{name}_withheld_between"].value == 1
    assert found[f"{name}_false_v_beats"].value == 6
    assert f"{name}_good_ppv" not in found, "nothing was judged"
    counts = [found[f"{name}_{which}"].count for which in ("false_v_alarms", "false_af_alarms")]
    assert counts == [2, 4]
    assert found[f"{name}_other_false_alarms"].count == found[f"{name}_other_false_alarms"].value == 6
    none = figures([made(80, "mains", 0, Counter())])["ecg_noise_mains_0_db_false_v_alarms"]
    assert (none.value, none.lower) == (0, 0)
    assert none.upper == pytest.approx(2 * 3.689, abs=0.01), "half an hour"


def test_table_and_plot_hold_every_noise() -> None:
    found = figures(made_all())
    assert table(found).count("\n") == 3 + len(NOISES) * len(SNRS_DB)
    assert "none / none" in table(found)
    drawing = ElementTree.fromstring(plot(found, NOISES, SNRS_DB))
    texts = [each.text for each in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert {noise.replace("_", " ") for noise in NOISES} <= set(texts)
    assert "signal-to-noise ratio, dB" in texts
