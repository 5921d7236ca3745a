"""Events of every kind, each value in turn replaced by something hostile, and their delivery."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from cloud_backend.ingest.commit import Committer
from cloud_backend.ingest.received import read_batch
from common import messages
from common.errors import BatchError
from common.messages import Priority

NOW_NS = 1_800_000_000_000_000_000
SECOND_NS = 1_000_000_000
NODE, SITE = "n1", "plant"
HEALTH = {
    "version": "1",
    "slot": "a",
    "step": "confirmed",
    "confirmed": True,
    "latency_p50_ms": 1.5,
    "outbox_events": 3,
    "bytes_sent": 10,
    "bytes_raw": 100,
    "readings": 7,
    "cpu_s": 1.0,
    "rss_bytes": 5,
    "drift": False,
    "given_up": {"telemetry": 1},
}
_ECG = {"version": "ecg-1", "virtual": True}
REAL: list[tuple[str, str, dict[str, Any]]] = [
    ("edgeloop.node.health", NODE, HEALTH),
    (
        "edgeloop.node.started",
        NODE,
        {"app": "industrial", "version": "1", "slot": "a", "profile": "cpu", "tags": ["x"]},
    ),
    (
        "edgeloop.adoption",
        NODE,
        {
            "version": "2",
            "step": "switched",
            "ok": False,
            "reason": "crash_loop",
            "serial": 2,
            "rollout": "r",
        },
    ),
    ("edgeloop.drift", NODE, {"state": "drift", "score": 4.5}),
    (
        "industrial.rul",
        "engine-1",
        {
            "run": 1,
            "cycle": 30,
            "rul_cycles": 88.2,
            "lower_cycles": 70.0,
            "upper_cycles": 99.0,
            "novelty": 0.1,
            "version": "1",
        },
    ),
    (
        "industrial.maintenance_due",
        "engine-1",
        {
            "run": 1,
            "cycle": 31,
            "rul_cycles": 40.0,
            "lower_cycles": 29.0,
            "upper_cycles": 51.0,
            "novelty": 0.1,
            "horizon_cycles": 30.0,
            "sensors": ["T24"],
            "sensor_cycles": [2.5],
            "version": "1",
        },
    ),
    ("industrial.maintenance_cleared", "engine-1", {"run": 1, "cycle": 33, "reason": "x", "version": "1"}),
    (
        "ecg.rates",
        "p-1",
        _ECG
        | {
            "began_ns": NOW_NS,
            "seconds": 10.0,
            "heart_rate_bpm": 70.0,
            "beats": {"N": 10, "S": 1},
            "good_share": 1.0,
            "rhythm": "AF",
        },
    ),
    ("ecg.quality", "p-1", _ECG | {"lead": "II", "good": False, "reasons": ["flat"]}),
    (
        "ecg.rhythm",
        "p-1",
        _ECG
        | {
            "episode": "e-1",
            "label": "AF",
            "state": "began",
            "began_ns": NOW_NS,
            "ended_ns": None,
            "beats": 30,
            "heart_rate_bpm": 120.0,
        },
    ),
    (
        "ecg.hrv",
        "p-1",
        _ECG
        | {
            "began_ns": NOW_NS,
            "seconds": 300.0,
            "nn_count": 300,
            "ectopic_share": 0.0,
            "mean_nn_ms": 800.0,
            "sdnn_ms": 50.0,
            "rmssd_ms": 40.0,
            "pnn50_percent": 10.0,
            "lf_hf": 1.5,
        },
    ),
    (
        "ecg.intervals",
        "p-1",
        _ECG
        | {
            "began_ns": NOW_NS,
            "seconds": 60.0,
            "beats": 60,
            "rr_ms": 800.0,
            "qrs_ms": 90.0,
            "qt_ms": 400.0,
            "lead": "II",
        },
    ),
    (
        "ecg.alarm",
        "p-1",
        _ECG
        | {
            "alarm": "AF",
            "priority": "medium",
            "state": "raised",
            "raised_ns": NOW_NS,
            "delay_s": 10.0,
            "value": 120.0,
            "limit": 100.0,
            "text": "AF",
        },
    ),
    (
        "ecg.strip",
        "p-1",
        _ECG
        | {
            "began_ns": NOW_NS,
            "rate_hz": 250.0,
            "leads": ["II"],
            "lsb_mv": 0.005,
            "samples_b64": "AAABAAIA",
            "beats": [{"at_ms": 4.0, "kind": "N", "probability": 0.9}],
            "alarm": "AF",
        },
    ),
    ("ecg.finding", "p-1", _ECG | {"finding": "lead_off", "lead": "II", "text": "x"}),
    ("edgeloop.learn", NODE, {"what": "anything"}),
]
"""Of each type one true event: type, subject, data."""
DEEP = "[" * 300 + "]" * 300
HOSTILE = [
    *("null", "true", '""', "[]", "{}", "0", "-1", "-0.0", "1e308", "-1e308", "5e-324"),
    *("1e400", "-1e400", "NaN", "Infinity", "2147483648", "9223372036854775807", "9223372036854775808"),
    *("18446744073709551616", "9" * 40, "9" * 5000, "-" + "9" * 5000, "0." + "1" * 5000),
    *(
        '" "',
        '"\\u0001"',
        '"\\u00e9\\u4e2d"',
        '"\\u0000"',
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\u202e<script>"',
        '"%s|:"',
        '"../../x"',
    ),
    *(DEEP, '{"a":' * 300 + "1" + "}" * 300, "[" * 60 + "]" * 60, "[" * 100_000),
    *(json.dumps("x" * 100_000), json.dumps([1] * 5000), '{"a":1,"a":[]}', '{"a":NaN}', "[1e400]"),
]
"""JSON texts, or what looks like them."""
IDS = ["", "\\u0000", "\\ud800", "x" * 5000, "\\u202e", "a/b?c#d", "%2e%2e", " ", "🫀"]
TIMES = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2262-04-11T23:47:16Z", "1677-09-21T00:12:44Z", "x"]


def _deliver(committer: Committer, events: list[bytes], first: int) -> None:
    """Send as a node does: what is refused in halves, and the one that is refused alone as a gap."""
    try:
        payload = _batch(events, first)
    except BatchError:
        answers = []
    else:
        answers = committer.commit([read_batch(SITE, NODE, payload, NOW_NS)])
    if answers and not answers[0].ack.refused_digest:
        assert answers[0].ack.high_water_mark == first + len(events) - 1
        return
    half = len(events) // 2
    if half:
        _deliver(committer, events[:half], first)
        _deliver(committer, events[half:], first + half)
        return
    gap = {"through": first, "reason": "refused", "counts": {"event": 1}}
    event = messages.Event(messages.GAP_TYPE, "", NOW_NS, Priority.EVENT, gap)
    _deliver(
        committer, [messages.encode_event(event, source=f"/{SITE}/{NODE}", epoch="e1", seq=first)], first
    )


def _batch(bodies: list[bytes], first: int, last: int = 0, oldest: int = 1, epoch: str = "e1") -> bytes:
    return messages.encode_batch(
        bodies,
        source=f"/{SITE}/{NODE}",
        epoch=epoch,
        first=first,
        last=last or first + len(bodies) - 1,
        sent_ns=NOW_NS,
        oldest=oldest,
    )


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, each in children:
        yield (*path, key)
        yield from _places(each, (*path, key))


def _replaced(real: dict[str, Any], place: tuple[Any, ...], value: str) -> str:
    data = copy.deepcopy(real)
    holder: Any = data
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = "@@"
    return json.dumps(data).replace('"@@"', value)


def _gaps() -> Iterator[bytes]:
    """Streams that claim to have lost more than any column holds."""
    for number, through in enumerate((2**53 - 1, 2**63 - 1, 2**62, 2**40, 2**41)):
        for each in range(3):
            epoch = f"gap-{number}-{each}"
            event = messages.Event(
                messages.GAP_TYPE,
                "",
                NOW_NS,
                Priority.EVENT,
                {"through": through, "reason": "x", "counts": {}},
            )
            body = messages.encode_event(event, source=f"/{SITE}/{NODE}", epoch=epoch, seq=1)
            yield _batch([body], 1, last=through, epoch=epoch)
            yield _batch([], through, last=through, oldest=through, epoch=epoch)
