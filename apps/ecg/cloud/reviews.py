"""Clinicians' reviews of strips: training labels, and the state of the review queue.

A review is stored as labels of the patient: ``beats`` with the true class of each beat, ``rhythm`` with the
true rhythm over the strip, ``unreadable`` for an uninterpretable strip. The queue is a projection of those
labels, so it survives a rebuild of the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import sqlalchemy as sa
from pydantic import BaseModel, Field, model_validator
from sqlmodel import Session, col

from apps.ecg.cloud.tables import Strip
from apps.ecg.events import TimeNs
from common.app.training import Label

APP = "ecg"
KINDS = ("beats", "rhythm", "unreadable")
TrueRhythm = Literal["sinus", "AF", "VT", "tachycardia", "bradycardia", "pause", "other"]


class TrueBeat(BaseModel):
    """A beat according to a clinician, in milliseconds from the start of the strip."""

    at_ms: float = Field(ge=0, le=600_000)
    kind: Literal["N", "S", "V", "F", "Q"]


class Review(BaseModel):
    """A clinician's review of a strip.

    ``confirmed``: the edge's beats and rhythm are correct. ``corrected``: ``beats`` (all of the strip),
    ``rhythm``, or both are the truth. ``unreadable``: the strip is uninterpretable.
    """

    verdict: Literal["confirmed", "corrected", "unreadable"]
    beats: list[TrueBeat] | None = Field(default=None, max_length=1000)
    rhythm: TrueRhythm | None = None
    note: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _fits(self) -> Review:
        corrects = self.beats is not None or self.rhythm is not None
        if self.verdict == "corrected" and not corrects:
            raise ValueError("a correction needs beats, a rhythm, or both")
        if self.verdict != "corrected" and corrects:
            raise ValueError("only a correction may have beats or a rhythm")
        times = [beat.at_ms for beat in self.beats or ()]
        if sorted(set(times)) != times:
            raise ValueError("beats must be in ascending order of time, without duplicates")
        return self


def labels_of(strip: Strip, review: Review, *, reviewer: str, now_ns: int) -> list[Label]:
    """The labels of a review of ``strip``, all with the same time and source."""
    span = {"began_ns": strip.began_ns, "ended_ns": strip.ended_ns}
    review_fields = {"verdict": review.verdict, "note": review.note}
    bodies: dict[str, dict[str, Any]] = {}
    if review.verdict == "unreadable":
        bodies["unreadable"] = {**span, **review_fields}
    beats = [beat.model_dump() for beat in review.beats] if review.beats is not None else None
    if review.verdict == "confirmed":
        beats = [{"at_ms": beat["at_ms"], "kind": beat["kind"]} for beat in strip.beats]
    if beats is not None:
        bodies["beats"] = {"sample": None, **span, "beats": beats, **review_fields}
    rhythm = review.rhythm or (strip.rhythm if review.verdict == "confirmed" else None)
    if rhythm is not None and rhythm != "unknown":
        bodies["rhythm"] = {**span, "rhythm": rhythm, **review_fields}
    if not bodies:
        bodies["beats"] = {"sample": None, **span, "beats": [], **review_fields}
    return [
        Label(APP, strip.patient, strip.patient, kind, body, f"person:{reviewer}", now_ns)
        for kind, body in bodies.items()
    ]


class _Body(msgspec.Struct, frozen=True):
    """The projected part of a label; the API stores labels with any body."""

    began_ns: TimeNs
    beats: list[dict[str, Any]] | None = None
    rhythm: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    verdict: Annotated[str, msgspec.Meta(pattern="^(confirmed|corrected|unreadable)$")] = "corrected"
    note: Annotated[str, msgspec.Meta(max_length=2000)] = ""


def project_labels(session: Session, labels: Sequence[Label]) -> list[tuple[str, int]]:
    """Update strips from ``labels``; the newest review of a strip counts.

    Idempotent. Returns the changed strips, as ``(patient, began_ns)``. A label of no known strip has no
    effect.
    """
    changed: list[tuple[str, int]] = []
    for label in labels:
        try:
            body = msgspec.convert(label.body, _Body) if label.kind in KINDS else None
        except msgspec.ValidationError:
            continue
        if body is None:
            continue
        strip = session.get(Strip, (label.subject, body.began_ns))
        if strip is None or (strip.reviewed_ns or 0) > label.created_ns:
            continue
        before = strip.model_dump(exclude={"samples"})
        if strip.reviewed_ns != label.created_ns:  # the first label of a newer review
            strip.true_beats, strip.true_rhythm = None, ""
        strip.reviewed_ns, strip.reviewed_by = label.created_ns, label.source.removeprefix("person:")
        strip.verdict, strip.note = body.verdict, body.note
        if label.kind == "beats":
            strip.true_beats = body.beats or []
        elif label.kind == "rhythm":
            strip.true_rhythm = body.rhythm or ""
        if strip.model_dump(exclude={"samples"}) != before:
            changed.append((strip.patient, strip.began_ns))
    session.flush()
    return changed


def unreviewed(session: Session, patient: str, since_ns: int, until_ns: int) -> int:
    """Number of a patient's unreviewed strips that began in ``since_ns <= t < until_ns``."""
    found = sa.select(sa.func.count()).where(
        col(Strip.patient) == patient,
        col(Strip.began_ns) >= since_ns,
        col(Strip.began_ns) < until_ns,
        col(Strip.reviewed_ns).is_(None),
    )
    return session.scalar(found.select_from(Strip)) or 0
