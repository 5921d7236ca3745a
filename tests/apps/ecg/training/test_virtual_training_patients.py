"""Virtual patients that a first model learns from: they have what recordings lack, and do not judge."""

from __future__ import annotations

import numpy as np

from apps.ecg.training.evaluation import EVALUATION_SEED, FLEET_PATIENTS
from apps.ecg.training.job import TRAINING_PATIENTS_EACH, TRAINING_SEED, VIRTUAL_PATIENTS
from apps.ecg.training.virtual_training_patients import RHYTHMS, training_patients


def test_they_have_fibrillation_and_runs_of_atrial_beats_and_are_the_same_each_time() -> None:
    patients = list(training_patients(len(RHYTHMS), 3))
    assert any(one.truth.fibrillation for one in patients)
    assert max(np.mean(one.kinds == 1) for one in patients) > 0.3
    again = next(training_patients(1, 3))
    assert np.array_equal(again.rows.features, patients[0].rows.features)


def test_their_seeds_are_not_those_that_judge() -> None:
    first = 1000 * TRAINING_SEED
    assert (
        first + TRAINING_PATIENTS_EACH * VIRTUAL_PATIENTS <= EVALUATION_SEED
        or first >= EVALUATION_SEED + FLEET_PATIENTS
    )
