"""Admission of an offered sample: its score, its content as bytes, and the limits that it must meet. No I/O.

Rules:

- The score is the highest reason; while the readings drift, ``drift`` is one of them. Below ``min_score`` the
  sample is not admitted.
- A sample that can never be kept is an error: its arrays are above the limit, its encoded content is larger
  than the store or the day's budget, or its attributes are not JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from common.app.edge import Sample
from common.config.node import CurationSettings
from common.edge.curation.upload import Kept
from common.errors import SampleError
from common.samples import PLAIN_LIMIT_BYTES, encode_sample

DRIFT_SCORE = 0.75
"""The reason ``drift`` of a sample that is offered while the readings drift."""


class Admitted(NamedTuple):
    """A sample that is worth keeping: its sidecar and its content."""

    kept: Kept
    content: bytes


class Admission:
    """Of the samples of ``app``."""

    def __init__(self, app: str, settings: CurationSettings) -> None:
        self._app = app
        self._settings = settings

    def admit(self, sample: Sample, *, drifting: bool, recorded: bool) -> Admitted | None:
        """The sample, ready to be kept; None below ``min_score``. Raises `SampleError`.

        ``recorded``: its times are a recording's, not this device's clock's.
        """
        reasons = {name: float(score) for name, score in sample.reasons.items()}
        if drifting:
            reasons["drift"] = max(DRIFT_SCORE, reasons.get("drift", 0.0))
        score = max(reasons.values(), default=0.0)
        if not score >= self._settings.min_score:
            return None
        content = self._encode(sample)
        kept = Kept(
            digest=hashlib.sha256(content).hexdigest(),
            app=self._app,
            subject=sample.subject,
            group=sample.group,
            captured_ns=sample.captured_ns,
            reasons=reasons,
            attributes=_plain(sample.attributes),
            size=len(content),
            score=min(score, 1.0),
            recorded=recorded,
        )
        return Admitted(kept, content)

    def _encode(self, sample: Sample) -> bytes:
        plain = sum(array.nbytes for array in sample.arrays.values())
        limit = min(PLAIN_LIMIT_BYTES, 64 * self._settings.store_bytes)
        if plain > limit:
            raise SampleError(f"it has {plain} bytes; a sample holds at most {limit}")
        content = encode_sample(sample.arrays)
        limit = min(self._settings.store_bytes, self._settings.budget_bytes_per_day)
        if len(content) > limit:
            raise SampleError(
                f"it takes {len(content)} bytes, and the store and the day's budget hold at most {limit}: "
                "raise curation.store_bytes and curation.budget_bytes_per_day, or offer less at once"
            )
        return content


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as JSON values. Raises `SampleError`."""
    try:
        return msgspec.json.decode(msgspec.json.encode(dict(attributes)), type=dict[str, Any])
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise SampleError(f"its attributes are not JSON: {error}") from error
