"""Camera health: whether the picture is one that can be counted on.

Each frame is judged by a small grey picture of it (`SMALL_WIDTH` wide), twice a second at most:

=============  ==========================================================================================
gone           no frame for ``gone_s`` (`CameraHealth.check`)
black          nearly all of the picture is dark and without contrast
blinded        much of it is white, or it is evenly bright: sun, a lamp, a covered or sprayed lens
frozen         the same picture, to the last bit of its noise, for ``frozen_s``
out of focus   the finest detail is far below that of the reference view
moved          the edges lie elsewhere than in the reference view
resolution     the frames have another size than the reference view
=============  ==========================================================================================

A sudden change of all edges, such as a camera's switch to infrared, looks like a move. The reference view
is made of the first good pictures, a median over ``REFERENCE_PICTURES``, and follows slow changes of light;
an operator renews it with `CameraHealth.renew` after moving a camera. A problem counts once it has held for
``hold_s``, and ends when it has been absent for as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import reduce
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

SMALL_WIDTH = 160
EVERY_S = 0.5
REFERENCE_PICTURES = 5
FOLLOWING = 0.01
"""Share by which the reference moves towards each good picture: a minute or two for a change of light."""


class Trouble(StrEnum):
    """Problem of a camera; counts are incomplete while it has one."""

    GONE = "gone"
    BLACK = "black"
    BLINDED = "blinded"
    FROZEN = "frozen"
    OUT_OF_FOCUS = "out_of_focus"
    MOVED = "moved"
    RESOLUTION = "resolution"


class HealthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of the health of a camera."""

    gone_s: float = 5.0
    """Time without a frame after which a camera is gone."""
    frozen_s: float = 5.0
    """Time with the same picture after which it is frozen."""
    hold_s: float = 3.0
    """Time for which a problem must hold before it is reported, and be absent before it has ended."""
    black_level: float = 16.0
    """Brightness (0 to 255) under which 98 % of a black picture lies."""
    white_share: float = 0.5
    """Share of the picture at full brightness from which it is blinded."""
    min_contrast: float = 6.0
    """Standard deviation of the brightness under which a picture shows nothing."""
    focus_share: float = 0.4
    """Share of the reference's fine detail (for its contrast) under which the camera is out of focus."""
    moved_share: float = 0.6
    """Share of the usual correlation with the edges of the reference under which the camera has moved."""


class CameraHealth:
    """Health of one camera; belongs to one thread. State is the reference view and a few numbers."""

    def __init__(self, settings: HealthSettings | None = None) -> None:
        self._settings = settings or HealthSettings()
        self._reference: list[NDArray[np.float32]] = []
        self._edges: NDArray[np.float32] | None = None
        self._detail = self._likeness = 0.0
        self._size: tuple[int, int] | None = None
        self._judged_ns: int | None = None
        self._frame_ns: int | None = None
        self._digest: int | None = None
        self._same_since_ns = 0
        self._since_ns: dict[Trouble, int] = {}
        self._absent_ns: dict[Trouble, int] = {}
        self._held: set[Trouble] = set()

    @property
    def troubles(self) -> frozenset[Trouble]:
        """Current troubles; empty where counts are complete."""
        return frozenset(self._held)

    def update(self, frame_bgr: NDArray[np.uint8], captured_ns: int) -> frozenset[Trouble]:
        """Judge a frame (height, width, 3); what is wrong with the camera."""
        self._frame_ns = captured_ns
        if self._judged_ns is not None and 0 <= captured_ns - self._judged_ns < EVERY_S * 1e9:
            return self.troubles
        self._judged_ns = captured_ns
        return self._hold(self._judge(frame_bgr, captured_ns), captured_ns)

    def check(self, now_ns: int) -> frozenset[Trouble]:
        """Whether frames come at all; call it about once a second, also while none comes."""
        if self._frame_ns is None:
            self._frame_ns = now_ns
        if now_ns - self._frame_ns >= self._settings.gone_s * 1e9:
            self._held = {Trouble.GONE}
            self._since_ns.clear()
        return self.troubles

    def renew(self) -> None:
        """Take the view from now on for the reference."""
        self._reference, self._edges, self._size = [], None, None
        self._held.clear()
        self._since_ns.clear()

    def _judge(self, frame: NDArray[np.uint8], now_ns: int) -> set[Trouble]:
        settings, found = self._settings, set[Trouble]()
        height, width = frame.shape[:2]
        grey = _small_grey(frame)
        if self._is_frozen(grey, now_ns):
            found.add(Trouble.FROZEN)
        contrast = float(grey.std())
        if float((grey < settings.black_level).mean()) >= 0.98:
            found.add(Trouble.BLACK)
        elif float((grey >= 250).mean()) >= settings.white_share or contrast < settings.min_contrast:
            found.add(Trouble.BLINDED)
        if self._size is not None and self._size != (width, height):
            found.add(Trouble.RESOLUTION)
        elif not found:
            found |= self._compare(grey, (width, height))
        return found

    def _is_frozen(self, grey: NDArray[np.float32], now_ns: int) -> bool:
        digest = hash(grey.tobytes())
        if digest != self._digest:
            self._digest, self._same_since_ns = digest, now_ns
        return now_ns - self._same_since_ns >= self._settings.frozen_s * 1e9

    def _compare(self, grey: NDArray[np.float32], size: tuple[int, int]) -> set[Trouble]:
        """Against the reference view, which this picture joins while there is none."""
        edges, detail = _edges(grey), _detail(grey)
        if self._edges is None:
            self._reference.append(grey)
            if len(self._reference) == REFERENCE_PICTURES:
                view = np.median(np.stack(self._reference), axis=0).astype(np.float32)
                self._edges, self._size = _edges(view), size
                self._detail = float(np.median([_detail(each) for each in self._reference]))
                self._likeness = float(
                    np.median([_correlation(_edges(each), self._edges) for each in self._reference])
                )
                self._reference = []
            return set()
        found = set[Trouble]()
        likeness = _correlation(edges, self._edges)
        if detail < self._settings.focus_share * self._detail:
            found.add(Trouble.OUT_OF_FOCUS)
        elif likeness < self._settings.moved_share * self._likeness:
            found.add(Trouble.MOVED)
        else:
            self._edges += FOLLOWING * (edges - self._edges)
            self._detail += FOLLOWING * (detail - self._detail)
            self._likeness += FOLLOWING * (likeness - self._likeness)
        return found

    def _hold(self, found: set[Trouble], now_ns: int) -> frozenset[Trouble]:
        """Problems that have held for long enough, and those that have not been absent for as long."""
        self._held.discard(Trouble.GONE)
        hold_ns = self._settings.hold_s * 1e9
        for trouble in Trouble:
            if trouble in found:
                self._absent_ns.pop(trouble, None)
                since_ns = self._since_ns.setdefault(trouble, now_ns)
                if now_ns - since_ns >= hold_ns or trouble is Trouble.FROZEN:
                    self._held.add(trouble)
            else:
                self._since_ns.pop(trouble, None)
                absent_ns = self._absent_ns.setdefault(trouble, now_ns)
                if now_ns - absent_ns >= hold_ns:
                    self._held.discard(trouble)
        return self.troubles

    def snapshot(self) -> dict[str, Any]:
        """The reference view, as JSON values and arrays; the rest starts empty after a restart."""
        return {
            "edges": self._edges,
            "detail": self._detail,
            "likeness": self._likeness,
            "size": list(self._size or ()),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue with the reference view of a `snapshot`, so that a camera moved meanwhile is found."""
        edges = state["edges"]
        self._edges = None if edges is None else np.array(edges, np.float32)
        self._detail, self._likeness = float(state["detail"]), float(state["likeness"])
        size = state["size"]
        self._size = (int(size[0]), int(size[1])) if size else None


def _small_grey(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The frame's green in averages of blocks, about `SMALL_WIDTH` wide, so that noise is small."""
    step = max(1, frame.shape[1] // SMALL_WIDTH)
    height, width = frame.shape[0] // step * step, frame.shape[1] // step * step
    green = frame[:height, :width, 1].astype(np.uint32)
    # Sums of whole rows and columns: 0.3 ms where `mean` over both axes takes 2.2 (768 x 576).
    rows = reduce(np.add, (green[row::step] for row in range(step)))
    blocks = reduce(np.add, (rows[:, column::step] for column in range(step)))
    return blocks.astype(np.float32) / np.float32(step * step)


def _edges(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Strength of the edges, widened by a pixel, without the mean: what is compared of two views."""
    across, down = np.gradient(grey)
    strength = np.hypot(across, down)
    strength = np.minimum(strength, np.quantile(strength, 0.95) + 1e-6)
    wide = strength.copy()
    wide[1:] += strength[:-1]
    wide[:-1] += strength[1:]
    wide[:, 1:] += strength[:, :-1]
    wide[:, :-1] += strength[:, 1:]
    return (wide - wide.mean()).astype(np.float32)


def _detail(grey: NDArray[np.float32]) -> float:
    """Strength of the finest detail, of which blur takes most away: second differences by the contrast."""
    second = grey[1:-1, 2:] + grey[1:-1, :-2] + grey[2:, 1:-1] + grey[:-2, 1:-1] - 4 * grey[1:-1, 1:-1]
    return float(np.mean(np.abs(second)) / (grey.std() + 1e-6))


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    norm = float(np.sqrt((first * first).sum() * (second * second).sum()))
    return float((first * second).sum()) / norm if norm > 0 else 1.0
