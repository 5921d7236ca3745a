"""Labels of ECG signals: only a signal labelled as an ECG is read as one."""

from __future__ import annotations

import pytest

from common.errors import SourceFormatError
from hardware.sensors.ecg_labels import LEADS_LIMIT, Labelled, choose, ecg_name, millivolts_in


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("ECG", "ECG"), ("EKG", "EKG"), ("ECG1", "ECG1"), ("EKG1-EKG2", "EKG1-EKG2"), ("ECG I", "I"),
        ("ECG LA-RA", "ECG LA-RA"), ("ECG L-R", "ECG L-R"), ("MLII", "MLII"), ("avr", "aVR"), ("AVR", "aVR"),
        ("v5", "V5"), ("V4R", "V4R"), ("MCL1", "MCL1"), ("ECGII", "II"), ("ECG_II", "II"), ("ECG-II", "II"),
        ("ECG lead AVR", "aVR"), ("Lead 2", "II"), ("mod.V1", "MOD V1"), ("ECG  (II)", "II"), ("vx", "VX"),
        ("EEG EKG1-REF", "EEG EKG1-REF"), ("ECG signal 0", "ECG signal 0"), ("CM5", "CM5"), ("E-S", "E-S"),
    ],
)  # fmt: skip
def test_an_ecg_is_known_by_its_label(label: str, name: str) -> None:
    assert ecg_name(label) == name


@pytest.mark.parametrize(
    "label",
    [
        "C3", "EEG C4-A1", "M1", "CB1", "Iz", "EOG", "VEOG", "Chin1-Chin2", "LOC", "E1-M2", "LEG/L", "SaO2",
        "PLETH", "ABP", "Resp II", "ECG HR", "ECG Resp", "EKG_Off", "ECG quality", "ECG EMG", "ECoG",
        "noise1", "RA-LA", "II V5", "EEG I", "X", "", "IV", "VI", "ECGR", "DC1",
    ],
)  # fmt: skip
def test_nothing_else_is(label: str) -> None:
    assert ecg_name(label) is None


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("-aVR", "-aVR"), ("ECG -aVR", "-aVR"), ("ECG (-aVR)", "-aVR"), ("ECG \u2212II", "-II"),
        ("ECG II inverted", "-II"), ("ECG-aVR", "aVR"), ("ECG - aVR", "aVR"),
    ],
)  # fmt: skip
def test_an_inverted_lead_keeps_its_sign(label: str, name: str) -> None:
    assert ecg_name(label) == name


@pytest.mark.parametrize(
    ("unit", "millivolts"),
    [
        ("V", 1e3), ("mV", 1.0), ("uV", 1e-3), ("\u00b5V", 1e-3), ("\u03bcV", 1e-3), ("\u00c2\u00b5V", 1e-3),
        ("microvolts", 1e-3), ("Volt", 1e3), ("nV", 1e-6), ("", None), ("adu", None), ("mmHg", None),
        ("kV", None), ("mV/s", None),
    ],
)  # fmt: skip
def test_units_are_voltages_or_refused(unit: str, millivolts: float | None) -> None:
    assert millivolts_in(unit) == millivolts


def signals(*labels: str, unit: str = "uV") -> list[Labelled]:
    return [Labelled(label, unit, 256) for label in labels]


def test_a_second_signal_of_one_name_is_renamed_and_reported_once() -> None:
    chosen = choose(signals("ECG II", "C3", "EKG II"), None, "a.edf")
    assert (chosen.signals, chosen.names) == ((0, 2), ("II", "II (2)"))
    assert len(chosen.problems) == 1
    assert "more than one signal II; signal 3 is called 'II (2)'" in chosen.problems[0]
    assert choose(signals("ECG II", "C3", "EKG II"), ("II (2)",), "a.edf").signals == (2,)
    assert choose(signals("ECG II", "ECG II"), ("II",), "a.edf").problems == ()


def test_an_ecg_without_a_unit_of_voltage_is_left_out_and_reported() -> None:
    found = choose([*signals("ECG1", unit="adu"), *signals("ECG2")], None, "a.edf")
    assert found.names == ("ECG2",)
    assert "ECG1 is in 'adu', which is no voltage" in found.problems[0]
    with pytest.raises(SourceFormatError, match=r"no signal in volts .*ECG1 \(no unit\)"):
        choose(signals("ECG1", unit=""), None, "a.edf")
    with pytest.raises(SourceFormatError, match=r"ECG1 is in 'no unit', no voltage\. It has C3"):
        choose([*signals("ECG1", unit=""), *signals("C3")], None, "a.edf")


def test_more_leads_than_are_analysed_are_cut_and_reported() -> None:
    names = ["I", "II", "III", "aVR", "aVL", "aVF", *(f"V{k}" for k in range(1, 7)), "vx", "vy", "vz"]
    chosen = choose(signals(*names), None, "a.hea")
    assert chosen.names == tuple(names[:LEADS_LIMIT])
    assert "not VX, VY, VZ" in chosen.problems[0]


def test_a_wanted_signal_is_taken_whatever_it_is_once() -> None:
    assert choose(signals("C3", "Chin  1"), ("chin 1",), "a.edf").names == ("Chin 1",)
    with pytest.raises(SourceFormatError, match="names a signal twice"):
        choose(signals("ECG II", "C3"), ("II", "ECG II"), "a.edf")
    with pytest.raises(SourceFormatError, match=r"no lead 'aVR' in volts; it has -aVR"):
        choose(signals("-aVR"), ("aVR",), "a.edf")
