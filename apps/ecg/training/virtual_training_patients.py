"""Virtual training patients of the full recipe, in addition to recordings of people.

DS1 has few patients, two of them in atrial fibrillation, and none with runs of atrial ectopic beats. These
patients cover that, on leads of all kinds: any share of ectopic beats, runs of them, fibrillation, slow and
fast sinus rhythm, some with noise. The patients of the gate are others
(`apps.ecg.training.evaluation.virtual_patients`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from apps.ecg.training.examples import Examples, examples_of, virtual_recording

LENGTH_S = 300.0
LEADS = ("II", "V5", "V1", "I")
VARIANTS = ("typical", "typical", "typical", "septal_pvc", "lbbb", "respiratory", "aberrant")
PVC_PERCENT = (0.3, 3.0, 8.0, 15.0)
PAC_PERCENT = (0.3, 3.0, 10.0, 30.0)
NOISES = ("baseline_wander", "muscle", "mains", "electrode_motion")
SNRS_DB = (24, 18)
NOISY_SHARE = 0.4
RHYTHMS = (
    {"episodes": "AF:60-240"},
    {"episodes": "AF:60-240"},
    {"episodes": "AF:100-200"},
    {"episodes": "PAC_runs:30-300"},
    {"episodes": "PAC_runs:30-300"},
    {"rhythm": "bradycardia"},
    {},
    {"rhythm": "tachycardia"},
)


def training_patients(count: int, seed: int) -> Iterator[Examples]:
    """``count`` patients, with `RHYTHMS` in turn and random other parameters."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        parameters = {
            "seed": str(1000 * seed + number),
            "name": f"taught-{seed}-{number}",
            "leads": str(rng.choice(LEADS)),
            "variant": str(rng.choice(VARIANTS)),
            "pvc": str(rng.choice(PVC_PERCENT)),
            "pac": str(rng.choice(PAC_PERCENT)),
        } | RHYTHMS[number % len(RHYTHMS)]
        if rng.random() < NOISY_SHARE:
            parameters["noise"] = f"{rng.choice(NOISES)}:{rng.choice(SNRS_DB)}"
        yield examples_of(virtual_recording(parameters, LENGTH_S))[0]
