"""Label form of a sample on the page *Learning*: 30 s of one lead with the device's beats and rhythm."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from nicegui import ui

from apps.ecg.cloud import formatting
from apps.ecg.pages.review_desk import API, TRUE_RHYTHMS, plain_beats
from apps.ecg.pages.strip_view import StripView
from common.pages import ApiError, Text, View, action
from common.pages.site import Refresh

Json = Mapping[str, Any]
KINDS = "NSVFQ"
"""Classes by their number in a sample."""


async def label_form(view: View, sample: dict[str, Any], stored: Refresh) -> None:
    """Label one sample with its true beats and rhythm."""
    Text("p", f"{formatting.DISCLAIMER}.").classes("about")
    try:
        strip = strip_of(sample, await view.api.get(f"/v1/samples/{sample['id']}/content"))
        drawing = StripView(strip, editable=True)
    except (ApiError, ValueError) as error:
        Text("p", f"This sample cannot be shown: {error}").classes("hint")
        return
    beats = plain_beats(strip["beats"])

    async def change(changed: list[dict[str, Any]]) -> None:
        beats[:] = changed

    drawing.on_beats(change)
    rhythm = ui.select(TRUE_RHYTHMS, label="Rhythm", clearable=True).props("outlined dense")
    rhythm.value = strip["rhythm"] if strip["rhythm"] in TRUE_RHYTHMS else None
    note = Text("p", "Saves the beats and the rhythm as shown.").classes("hint")
    note.props("role=status")

    async def post() -> None:
        for body in labels_of(sample, strip, beats, rhythm.value):
            await view.api.post(f"{API}/labels", body)

    async def save() -> None:
        if await view.act(post(), "Labelled."):
            await stored()

    action("Save the label", save, tone="main", icon="check")


def strip_of(sample: Json, content: Json) -> dict[str, Any]:
    """A sample with its content as a strip of the API. Raises `ValueError` for a malformed one."""
    attributes = sample["attributes"]
    try:
        rate_hz, began_ns = float(attributes["rate_hz"]), int(attributes["began_ns"])
        signal = np.asarray(content["arrays"]["signal"], np.int16).reshape(-1, 1)
        found = zip(content["arrays"]["peaks"], content["arrays"]["kinds"], strict=True)
        beats = [
            {"at_ms": round(1000 * int(peak) / rate_hz, 1), "kind": KINDS[int(kind)], "probability": None}
            for peak, kind in found
        ]
        lead, lsb_mv = str(attributes["lead"]), float(attributes["lsb_mv"])
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise ValueError(f"not a sample of the ECG app ({error!r})") from error
    if not rate_hz > 0 or not len(signal):
        raise ValueError("not a sample of the ECG app (no signal)")
    return {
        "id": sample["id"],
        "began_ns": began_ns,
        "ended_ns": began_ns + round(len(signal) / rate_hz * 1e9),
        "rate_hz": rate_hz,
        "leads": [lead],
        "lsb_mv": lsb_mv,
        "samples_b64": base64.b64encode(signal.astype("<i2").tobytes()).decode(),
        "beats": beats,
        "true_beats": None,
        "rhythm": str(attributes.get("rhythm", "unknown")),
    }


def labels_of(
    sample: Json, strip: Json, beats: list[dict[str, Any]], rhythm: str | None
) -> list[dict[str, Any]]:
    """The labels to store, as bodies of ``POST /v1/apps/ecg/labels``."""
    about = {"subject": sample["subject"], "group": sample["group"]}
    span = {"began_ns": strip["began_ns"], "ended_ns": strip["ended_ns"]}
    labels = [about | {"kind": "beats", "body": span | {"sample": sample["id"], "beats": beats}}]
    if rhythm is not None:
        labels.append(about | {"kind": "rhythm", "body": span | {"rhythm": rhythm}})
    return labels
