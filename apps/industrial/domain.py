"""The turbofan: its channels in order, their units, noise and ranges, and the bound of a remaining life."""

from __future__ import annotations

import numpy as np

SETTINGS = ("altitude_kft", "mach", "tra_pct")
SENSORS = (
    "T2", "T24", "T30", "T50", "P2", "P15", "P30", "Nf", "Nc", "epr", "Ps30",
    "phi", "NRf", "NRc", "BPR", "farB", "htBleed", "Nf_dmd", "PCNfR_dmd", "W31", "W32",
)  # fmt: skip
CHANNELS = (*SETTINGS, *SENSORS)
"""Order of the values of a reading: as the columns of C-MAPSS after unit and cycle."""

UNITS = dict.fromkeys(CHANNELS, "") | {
    "altitude_kft": "kft", "tra_pct": "%", "T2": "degR", "T24": "degR", "T30": "degR", "T50": "degR",
    "P2": "psia", "P15": "psia", "P30": "psia", "Nf": "rpm", "Nc": "rpm", "Ps30": "psia", "phi": "pps/psi",
    "NRf": "rpm", "NRc": "rpm", "Nf_dmd": "rpm", "PCNfR_dmd": "%", "W31": "lbm/s", "W32": "lbm/s",
}  # fmt: skip

_SENSOR_TABLE = {  # nominal level of a new engine, noise (1 sigma; the resolution where that is coarser)
    "T24": (642.4, 0.30), "T30": (1587.0, 4.0), "T50": (1402.9, 4.0), "P15": (21.61, 0.005),
    "P30": (553.9, 0.41), "Nf": (2388.06, 0.030), "Nc": (9056.1, 4.2), "epr": (1.30, 0.005),
    "Ps30": (47.36, 0.10), "phi": (521.9, 0.30), "NRf": (2388.06, 0.030), "NRc": (8137.4, 3.15),
    "BPR": (8.419, 0.020), "farB": (0.03, 0.005), "htBleed": (392.3, 0.95), "W31": (38.93, 0.10),
    "W32": (23.36, 0.060),
}  # fmt: skip
USED_CHANNELS = tuple(_SENSOR_TABLE)
NOMINAL = np.array([level for level, _ in _SENSOR_TABLE.values()])
SCALE = np.array([noise for _, noise in _SENSOR_TABLE.values()])
USED = np.array([CHANNELS.index(name) for name in USED_CHANNELS])

RUL_CAP_CYCLES = 125.0
"""Remaining useful life is predicted up to here: earlier, degradation does not show in the sensors."""

RANGES = {
    "altitude_kft": (-2.0, 60.0), "mach": (-0.1, 1.5), "tra_pct": (0.0, 120.0),
    "T2": (380.0, 600.0), "T24": (450.0, 780.0), "T30": (1050.0, 1900.0), "T50": (850.0, 1750.0),
    "P2": (2.0, 20.0), "P15": (3.0, 30.0), "P30": (90.0, 750.0), "Nf": (1200.0, 2900.0),
    "Nc": (6500.0, 10500.0), "epr": (0.7, 1.8), "Ps30": (25.0, 65.0), "phi": (85.0, 700.0),
    "NRf": (1400.0, 2900.0), "NRc": (6500.0, 9500.0), "BPR": (5.0, 15.0), "farB": (0.005, 0.06),
    "htBleed": (230.0, 480.0), "Nf_dmd": (1200.0, 2900.0), "PCNfR_dmd": (50.0, 120.0), "W31": (6.0, 55.0),
    "W32": (3.5, 35.0),
}  # fmt: skip
"""Lowest and highest value that each sensor can read, in its unit."""
