"""Virtual patients, their signal and their heartbeat intervals."""

from __future__ import annotations

import numpy as np

from apps.ecg.virtual.patient import Patient, patient_of

RATE_HZ = 360


def patient(**parameters: str) -> Patient:
    return patient_of({"seed": "1", **parameters})


def seconds(who: Patient, began_s: float, ended_s: float) -> np.ndarray:
    return who.signal(round(began_s * who.rate_hz), round((ended_s - began_s) * who.rate_hz))


def rr_s(who: Patient, began_s: float, ended_s: float) -> np.ndarray:
    return np.diff(who.heart.beats(began_s, ended_s).time_s)
