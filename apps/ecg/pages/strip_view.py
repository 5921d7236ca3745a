"""A strip as a block of a page: paper, beats, zoom and caliper, and what a clinician makes of its beats."""

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
"""Beats of the edge and of a clinician that are nearer than this are one."""


class StripView(Element, component="strip.js"):
    """Shows strips as ``GET /v1/apps/ecg/strips/{strip}`` gives them; ``editable`` lets beats be changed."""

    def __init__(self, strip: Json, *, editable: bool) -> None:
        super().__init__()
        self.props["kinds"] = dict(formatting.BEATS)
        self.props["editable"] = editable
        self.show(strip)

    def show(self, strip: Json) -> None:
        """Show another strip. Raises `ValueError` for samples that are none."""
        self.props["strip"] = strip_props(strip)
        self.update()

    def on_beats(self, do: Callable[[list[dict[str, Any]]], Awaitable[None]]) -> None:
        """Call ``do`` with all beats (``at_ms``, ``kind``) whenever one is changed."""

        async def changed(event: Any) -> None:
            if event.args["id"] == self.props["strip"]["id"]:
                await do(event.args["beats"])

        self.on("beats", changed)


def strip_props(strip: Json) -> dict[str, Any]:
    """What the browser needs of a strip. Raises `ValueError` for samples that are none."""
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
    """The beats as a clinician left them, or as the edge told them where nobody has; in order of time.

    ``edge`` in a beat is what the edge had said of it: ``-`` where it had found none.
    """
    if true is None:
        return [dict(beat) for beat in sorted(edge, key=_time)]
    shown = []
    for beat in sorted(true, key=_time):
        found = next((each for each in edge if abs(each["at_ms"] - beat["at_ms"]) < SAME_BEAT_MS), None)
        said = {"edge": "-", "probability": None}
        if found is not None:
            said = {"edge": found["kind"], "probability": found.get("probability")}
        shown.append({"at_ms": beat["at_ms"], "kind": beat["kind"]} | said)
    return shown


def _time(beat: Json) -> float:
    return beat["at_ms"]
