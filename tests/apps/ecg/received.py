"""Builders of the ECG app's events as the cloud receives them. Times are seconds after `EPOCH_NS`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import count
from typing import Any

import msgspec
import numpy as np

from common.app.cloud import ReceivedEvent
from common.messages import Priority

EPOCH_NS = 1_794_787_200 * 10**9
"""2026-11-16T00:00:00Z."""
DAY = "2026-11-16"
ANN = "p-annannannannanna"
BOB = "p-bobbobbobbobbobb"
_seq = count(1)


def at(seconds: float) -> int:
    return EPOCH_NS + round(seconds * 1e9)


def received(type: str, when: float, patient: str = ANN, node: str = "bed-1", **data: Any) -> ReceivedEvent:
    return ReceivedEvent(
        site="ward",
        node=node,
        epoch="e1",
        seq=next(_seq),
        type=f"ecg.{type}",
        subject=patient,
        time_ns=at(when),
        priority=Priority.EVENT,
        body=msgspec.json.encode({"version": "v1", **data}),
    )


def rates(
    seconds: float,
    bpm: float | None = 60.0,
    *,
    rhythm: str = "sinus",
    beats: dict[str, int] | None = None,
    good: float = 1.0,
    **more: Any,
) -> ReceivedEvent:
    """A window of 10 s from ``seconds`` on."""
    counted = {"N": 10, "S": 0, "V": 0, "F": 0, "Q": 0} | (beats or {})
    return received(
        "rates",
        seconds + 10,
        began_ns=at(seconds),
        seconds=10.0,
        heart_rate_bpm=bpm,
        beats=counted,
        good_share=good,
        rhythm=rhythm,
        **more,
    )


def rhythm(
    began: float, ended: float | None = None, label: str = "AF", patient: str = ANN, **more: Any
) -> ReceivedEvent:
    fields: dict[str, Any] = {"beats": 90, "heart_rate_bpm": 110.0} | more
    return received(
        "rhythm",
        began + 30 if ended is None else ended,
        patient,
        episode=f"{label}-{at(began)}",
        label=label,
        state="began" if ended is None else "ended",
        began_ns=at(began),
        ended_ns=None if ended is None else at(ended),
        **fields,
    )


def hrv(began: float, sdnn_ms: float = 42.0, **more: Any) -> ReceivedEvent:
    powers: dict[str, Any] = {"vlf_ms2": 300.0, "lf_ms2": 400.0, "hf_ms2": 200.0, "lf_hf": 2.0}
    fields: dict[str, Any] = {
        "began_ns": at(began),
        "seconds": 300.0,
        "nn_count": 290,
        "ectopic_share": 0.01,
        "mean_nn_ms": 1000.0,
        "sdnn_ms": sdnn_ms,
        "rmssd_ms": 30.0,
        "pnn50_percent": 12.0,
    }
    return received("hrv", began + 300, **{**fields, **powers, **more})


def intervals(began: float, qt_ms: float | None = 400.0, beats: int = 50, **more: Any) -> ReceivedEvent:
    values = {"rr_ms": 1000.0, "pr_ms": 160.0, "qrs_ms": 90.0, "qt_ms": qt_ms, "lead": "II"}
    corrected = {"qtc_bazett_ms": qt_ms, "qtc_fridericia_ms": qt_ms}
    fields: dict[str, Any] = {
        "began_ns": at(began),
        "seconds": 60.0,
        "beats": beats,
        **values,
        **corrected,
        **more,
    }
    return received("intervals", began + 60, **fields)


def alarm(
    raised: float,
    state: str = "raised",
    name: str = "atrial_fibrillation",
    when: float | None = None,
    patient: str = ANN,
    **more: Any,
) -> ReceivedEvent:
    fields: dict[str, Any] = {
        "priority": "medium",
        "delay_s": 5.0,
        "value": 0.9,
        "limit": 0.6,
        "text": "AF",
    } | more
    return received(
        "alarm",
        raised if when is None else when,
        patient,
        alarm=name,
        state=state,
        raised_ns=at(raised),
        **fields,
    )


def signal(leads: int, samples: int) -> np.ndarray[Any, Any]:
    """A made-up signal ``(samples, leads)`` as int16."""
    wave = 200 * np.sin(np.arange(samples)[:, None] * 0.05 * (1 + np.arange(leads)))
    return wave.astype("<i2")


def strip(
    began: float,
    name: str = "atrial_fibrillation",
    patient: str = ANN,
    leads: Sequence[str] = ("II", "V1"),
    min_probability: float = 0.9,
    **more: Any,
) -> ReceivedEvent:
    """A strip of 10 s at 250 Hz with a beat each second."""
    samples = signal(len(leads), 2500)
    samples[7, 0] = -32768
    beats = [
        {
            "at_ms": 500.0 + 1000 * n,
            "kind": "V" if n == 3 else "N",
            "probability": min_probability if n == 3 else 0.99,
        }
        for n in range(10)
    ]
    fields: dict[str, Any] = {"alarm": name, "rhythm": "AF", "beats": beats} | more
    return received(
        "strip",
        began + 12,
        patient,
        began_ns=at(began),
        rate_hz=250.0,
        leads=list(leads),
        unit="mV",
        lsb_mv=0.005,
        samples_b64=base64.b64encode(samples.tobytes()).decode(),
        **fields,
    )


def quality(seconds: float, good: bool, lead: str = "II", **more: Any) -> ReceivedEvent:
    return received("quality", seconds, lead=lead, good=good, reasons=[] if good else ["flat"], **more)


def finding(seconds: float, name: str = "gap", **more: Any) -> ReceivedEvent:
    return received("finding", seconds, finding=name, lead=None, text="a gap of 3 s", **more)


def a_day(patient: str = ANN) -> list[ReceivedEvent]:
    """Two hours with a bit of everything."""
    events = [
        rates(10.0 * n, 60 + n % 7, rhythm="AF" if 60 <= n < 120 else "sinus", patient=patient)
        for n in range(720)
    ]
    events += [rhythm(600, patient=patient), rhythm(600, 1200, patient=patient)]
    events += [hrv(300.0 * n, patient=patient) for n in range(24)]
    events += [intervals(60.0 * n, patient=patient) for n in range(120)]
    events += [alarm(640, patient=patient), alarm(640, "ended", when=1210, patient=patient)]
    events += [strip(635, patient=patient), quality(50, False, patient=patient), finding(70, patient=patient)]
    return events
