"""Page block of a strip: ECG paper, beats, zoom, caliper, and editing of beats."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nicegui.element import Element

from apps.ecg.cloud import ecg_paper, formatting
from apps.ecg.cloud.strips import decode_samples

STYLE = Path(__file__).with_name("strip.css")
Json = Mapping[str, Any]
SAME_BEAT_MS = 1.0
"""Tolerance for matching a clinician's beats to the edge's."""


class StripView(Element, component="strip.js"):
    """Shows a strip of ``GET /v1/apps/ecg/strips/{strip}``; beats can be changed if ``editable``."""

    def __init__(self, strip: Json, *, editable: bool) -> None:
        super().__init__()
        self.props["kinds"] = dict(formatting.BEATS)
        self.props["editable"] = editable
        self.show(strip)

    def show(self, strip: Json) -> None:
        """Show another strip. Raises `ValueError` for malformed samples."""
        self.props["strip"] = strip_props(strip)
        self.update()

    def on_beats(self, do: Callable[[list[dict[str, Any]]], Awaitable[None]]) -> None:
        """Call ``do`` with all beats (``at_ms``, ``kind``) after each change."""

        async def changed(event: Any) -> None:
            if event.args["id"] == self.props["strip"]["id"]:
                await do(event.args["beats"])

        self.on("beats", changed)


def strip_props(strip: Json) -> dict[str, Any]:
    """Props of the browser component. Raises `ValueError` for malformed samples."""
    leads = strip["leads"]
    try:
        raw = base64.b64decode(strip["samples_b64"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"the samples of {strip['id']} are not base64: {error}") from error
    laid_out = ecg_paper.lay_out(decode_samples(raw, len(leads), strip["lsb_mv"]), leads, strip["rate_hz"])
    about = f"{', '.join(leads)}, {laid_out.seconds:.1f} s from {formatting.stamp(strip['began_ns'])}"
    return {
        "id": strip["id"],
        "about": about,
        "svg": ecg_paper.svg(laid_out, f"ECG, {about}"),
        "width_mm": laid_out.width_mm,
        "height_mm": laid_out.height_mm,
        "margin_mm": ecg_paper.MARGIN_MM,
        "seconds": laid_out.seconds,
        "leads": leads,
        "rate_hz": strip["rate_hz"],
        "lsb_mv": strip["lsb_mv"],
        "samples_b64": strip["samples_b64"],
        "beats": shown_beats(strip["beats"], strip["true_beats"]),
    }


def shown_beats(edge: Sequence[Json], true: Sequence[Json] | None) -> list[dict[str, Any]]:
    """The clinician's beats, else the edge's, in order of time.

    ``edge`` in a clinician's beat is its class at the edge: ``-`` if the edge found none.
    """
    if true is None:
        return [dict(beat) for beat in sorted(edge, key=_time)]
    shown = []
    for beat in sorted(true, key=_time):
        found = next((each for each in edge if abs(each["at_ms"] - beat["at_ms"]) < SAME_BEAT_MS), None)
        by_edge = {"edge": "-", "probability": None}
        if found is not None:
            by_edge = {"edge": found["kind"], "probability": found.get("probability")}
        shown.append({"at_ms": beat["at_ms"], "kind": beat["kind"]} | by_edge)
    return shown


def _time(beat: Json) -> float:
    return beat["at_ms"]
