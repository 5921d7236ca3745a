"""Review form of a strip: beats on the ECG paper, rhythm, and a note."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nicegui import ui

from apps.ecg.cloud import formatting
from apps.ecg.pages.strip_view import StripView, shown_beats
from common.pages import Badge, Details, Text, View, action
from common.pages.site import Refresh

API = "/v1/apps/ecg"
TRUE_RHYTHMS = {
    label: formatting.RHYTHMS[label]
    for label in ("sinus", "AF", "VT", "tachycardia", "bradycardia", "pause", "other")
}
Json = Mapping[str, Any]
Beats = list[dict[str, Any]]


class ReviewDesk:
    """Review form of one strip at a time; ``stored`` is called after the review is stored.

    With ``skip`` the form has a button to skip the strip.
    """

    def __init__(self, view: View, strip: Json, stored: Refresh, skip: Refresh | None = None) -> None:
        self._view = view
        self._stored = stored
        with ui.element("div").classes("stack"):
            with ui.element("div").classes("row-of"):
                self._alarm, self._verdict = Badge(), Badge()
            self._details = Details({})
            self._drawing = StripView(strip, editable=True)
            self._drawing.on_beats(self._change_beats)
            with ui.element("div").classes("row-of"):
                self._rhythm = ui.select(TRUE_RHYTHMS, label="Rhythm", clearable=True).props("outlined dense")
                self._rhythm.on_value_change(self._update_button)
                self._note = ui.input("Note (optional)").props("outlined dense maxlength=2000")
                self._note.style("flex: 1; min-width: min(100%, 16em)")
            with ui.element("div").classes("row-of"):
                self._save = action("Confirm", self._send, tone="main", icon="check")
                action("Unreadable", self._send_unreadable)
                if skip is not None:
                    action("Skip", skip)
            self._hint = Text("p", "").classes("hint").props("role=status")
        self._take(strip)

    def show(self, strip: Json) -> None:
        """Show another strip."""
        self._drawing.show(strip)
        self._take(strip)

    def _take(self, strip: Json) -> None:
        self._strip = strip
        self._beats = plain_beats(shown_beats(strip["beats"], strip["true_beats"]))
        self._rhythm.value = rhythm_of(strip)
        self._note.value = ""
        tone = formatting.PRIORITY_TONES.get(strip["priority"], "")
        self._alarm.show(f"{formatting.alarm(strip['alarm'])}, {strip['priority']} priority", tone)
        self._verdict.show(*verdict(strip))
        self._details.show(
            {
                "Patient": strip["patient"],
                "From": formatting.marked(formatting.stamp(strip["began_ns"]), strip["time_quality"]),
                "Rhythm by the edge": formatting.rhythm(strip["rhythm"]),
                "Beats by the edge": beat_counts(strip),
                "Model": strip["version"],
            }
        )
        self._update_button()

    async def _change_beats(self, beats: Beats) -> None:
        self._beats = beats
        self._update_button()

    def _update_button(self) -> None:
        corrects = review_of(self._strip, self._beats, self._rhythm.value, "")["verdict"] == "corrected"
        self._save.text = "Save the correction" if corrects else "Confirm"
        self._hint.text = (
            "Saves the beats and the rhythm as shown."
            if corrects
            else "Confirms the beats and the rhythm of the edge. After a change, saves the correction."
        )

    async def _send(self) -> None:
        review = review_of(self._strip, self._beats, self._rhythm.value, self._note.value or "")
        await self._post(review)

    async def _send_unreadable(self) -> None:
        await self._post({"verdict": "unreadable", "note": self._note.value or ""})

    async def _post(self, review: dict[str, Any]) -> None:
        path = f"{API}/strips/{quote(self._strip['id'], safe='')}/review"
        done = f"Strip {formatting.VERDICTS[review['verdict']]}."
        if await self._view.act(self._view.api.post(path, review), done):
            await self._stored()


def review_of(strip: Json, beats: Sequence[Json], rhythm: str | None, note: str) -> dict[str, Any]:
    """The body of a review with ``beats`` and ``rhythm`` as the truth of ``strip``.

    ``confirmed`` if both equal those of the edge, else ``corrected``.
    """
    edge = strip["rhythm"] if strip["rhythm"] in TRUE_RHYTHMS else None
    if list(beats) == plain_beats(shown_beats(strip["beats"], None)) and rhythm == edge:
        return {"verdict": "confirmed", "note": note}
    return {"verdict": "corrected", "beats": list(beats), "rhythm": rhythm, "note": note}


def plain_beats(beats: Sequence[Json]) -> Beats:
    """Beats with time and class only."""
    return [{"at_ms": beat["at_ms"], "kind": beat["kind"]} for beat in beats]


def rhythm_of(strip: Json) -> str | None:
    """Initial rhythm of the form: the clinician's, else the edge's; None if neither is selectable."""
    return next((label for label in (strip["true_rhythm"], strip["rhythm"]) if label in TRUE_RHYTHMS), None)


def verdict(strip: Json) -> tuple[str, Any]:
    """Text and tone of a strip's review state."""
    if strip["reviewed_ns"] is None:
        return "not reviewed", ""
    return f"{formatting.VERDICTS.get(strip['verdict'], strip['verdict'])} by {strip['reviewed_by']}", "good"


def beat_counts(strip: Json) -> str:
    """The edge's beats of a strip as ``9 N, 2 V``."""
    return formatting.beat_counts([beat["kind"] for beat in strip["beats"]])


def strip_href(strip: str) -> str:
    """Link to a strip's page."""
    return f"/ui/apps/ecg/strips/{quote(strip, safe='')}"


def patient_href(patient: str, day: str = "") -> str:
    """Link to a patient's page."""
    return f"/ui/apps/ecg/patients/{quote(patient, safe='')}" + (f"?day={day}" if day else "")
