"""Boxes of one picture while a person edits them: pixels of the picture. No page, no I/O.

With the mouse or a finger: a click on a box takes it away or brings it back, dragging a corner moves it,
dragging elsewhere draws a box. After `draw`, the next two clicks are opposite corners of a box. With the
keyboard: `select_next`, then `nudge` moves or resizes the selected box, `toggle` takes it away, `add` makes
one in the middle. Each change can be undone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

Box = tuple[float, float, float, float]
MIN_SIDE_PX = 6.0
REACH_SHARE = 0.015
"""Distance at which a press is on a corner, as a share of the picture's longer side."""
UNDO_LIMIT = 100
NEW_SHARE = (0.1, 0.25)
"""Width and height of a box that is added in the middle, as shares of the picture."""


@dataclass(frozen=True, slots=True)
class EditedBox:
    """A box; ``score`` is that of its proposal, None where a person drew it. It counts while it ``holds``."""

    box: Box
    score: float | None = None
    holds: bool = True


class BoxEditor:
    """The boxes of a picture of ``size_px``, beginning with proposals."""

    def __init__(
        self, size_px: tuple[int, int], proposed: Sequence[Box], scores: Sequence[float] = ()
    ) -> None:
        self._size_px = size_px
        padded = [*scores, *[None] * (len(proposed) - len(scores))]
        self._rows = [EditedBox(box, score) for box, score in zip(proposed, padded, strict=True)]
        self._proposed = list(proposed)
        self._past: list[list[EditedBox]] = []
        self._pressed: tuple[float, float] | None = None
        self._corner: tuple[int, int] | None = None
        self._first: tuple[float, float] | None = None
        self.selected: int | None = None
        self.drawing = False

    @property
    def rows(self) -> Sequence[EditedBox]:
        """All boxes, those that were taken away too."""
        return self._rows

    @property
    def boxes(self) -> list[Box]:
        """The boxes that hold."""
        return [row.box for row in self._rows if row.holds]

    @property
    def corrected(self) -> bool:
        """Whether the boxes are others than proposed."""
        return sorted(self.boxes) != sorted(self._proposed)

    @property
    def can_undo(self) -> bool:
        return bool(self._past)

    @property
    def first_corner(self) -> tuple[float, float] | None:
        """The corner that was clicked after `draw`."""
        return self._first

    # -------------------------------------------------------------------------------- mouse and finger

    def draw(self) -> None:
        """The next two clicks are corners of a box; again: they are not."""
        self.drawing, self._first = not self.drawing, None

    def press(self, x: float, y: float) -> None:
        """The mouse button or a finger goes down."""
        self._pressed = self._within(x, y)
        self._corner = None if self.drawing else self._corner_at(*self._pressed)

    def release(self, x: float, y: float) -> None:
        """It goes up."""
        if self._pressed is None:
            return
        begun, self._pressed = self._pressed, None
        at, corner = self._within(x, y), self._corner
        self._corner = None
        if corner is not None and math.dist(begun, at) > self._reach / 2:
            self._move_corner(*corner, at)
        elif _is_box(dragged := box_of(begun, at)) and corner is None:
            self._append(dragged)
        elif self.drawing:
            self._click_corner(at)
        else:
            self._toggle_under(at)

    def _click_corner(self, at: tuple[float, float]) -> None:
        if self._first is None:
            self._first = at
        elif _is_box(box := box_of(self._first, at)):
            self._append(box)

    def _toggle_under(self, at: tuple[float, float]) -> None:
        x, y = at
        under = [
            number
            for number, row in enumerate(self._rows)
            if row.box[0] <= x <= row.box[2] and row.box[1] <= y <= row.box[3]
        ]
        if under:
            self.selected = min(under, key=lambda number: _area(self._rows[number].box))
            self.toggle(self.selected)

    # ----------------------------------------------------------------------------------------- keyboard

    def select_next(self, step: int = 1) -> None:
        """Select the next box, or the one before."""
        if self._rows:
            begin = -1 if self.selected is None and step > 0 else self.selected or 0
            self.selected = (begin + step) % len(self._rows)

    def add(self) -> None:
        """A box in the middle of the picture."""
        (width, height), (across, down) = self._size_px, NEW_SHARE
        left, top = width * (1 - across) / 2, height * (1 - down) / 2
        self._append((left, top, left + width * across, top + height * down))

    def nudge(self, dx: float, dy: float, *, resize: bool = False) -> None:
        """Move the selected box, or its lower right corner."""
        if self.selected is None:
            return
        left, top, right, bottom = self._rows[self.selected].box
        if resize:
            moved = box_of((left, top), self._within(right + dx, bottom + dy))
        else:
            width, height = self._size_px
            dx = min(max(dx, -left), width - right)
            dy = min(max(dy, -top), height - bottom)
            moved = (left + dx, top + dy, right + dx, bottom + dy)
        if _is_box(moved):
            self._change(self.selected, moved)

    # ------------------------------------------------------------------------------------------ changes

    def toggle(self, number: int) -> None:
        """Take a box away, or bring it back."""
        self._remember()
        self._rows[number] = replace(self._rows[number], holds=not self._rows[number].holds)

    def undo(self) -> None:
        """Take the last change back."""
        if self._past:
            self._rows = self._past.pop()
            self.selected, self._first, self.drawing = None, None, False

    def _append(self, box: Box) -> None:
        self._remember()
        self._rows.append(EditedBox(box))
        self.selected, self._first, self.drawing = len(self._rows) - 1, None, False

    def _change(self, number: int, box: Box) -> None:
        self._remember()
        self._rows[number] = replace(self._rows[number], box=box)

    def _remember(self) -> None:
        self._past = [*self._past[-UNDO_LIMIT + 1 :], list(self._rows)]

    def _move_corner(self, number: int, corner: int, at: tuple[float, float]) -> None:
        left, top, right, bottom = self._rows[number].box
        opposite = (right if corner % 2 == 0 else left, bottom if corner < 2 else top)
        if _is_box(box := box_of(opposite, at)):
            self.selected = number
            self._change(number, box)

    def _corner_at(self, x: float, y: float) -> tuple[int, int] | None:
        found = [
            (math.dist((x, y), (row.box[0 if at % 2 == 0 else 2], row.box[1 if at < 2 else 3])), number, at)
            for number, row in enumerate(self._rows)
            if row.holds
            for at in range(4)
        ]
        nearest = min(found, default=None)
        return None if nearest is None or nearest[0] > self._reach else nearest[1:]

    @property
    def _reach(self) -> float:
        return REACH_SHARE * max(self._size_px)

    def _within(self, x: float, y: float) -> tuple[float, float]:
        width, height = self._size_px
        return min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))


def box_of(one: tuple[float, float], other: tuple[float, float]) -> Box:
    """The box between two opposite corners, in tenths of a pixel."""
    (x1, y1), (x2, y2) = one, other
    left, right, top, bottom = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    return round(left, 1), round(top, 1), round(right, 1), round(bottom, 1)


def _is_box(box: Box) -> bool:
    return box[2] - box[0] >= MIN_SIDE_PX and box[3] - box[1] >= MIN_SIDE_PX


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def svg_of(editor: BoxEditor, size_px: tuple[int, int]) -> str:
    """The boxes as SVG: numbers only."""
    unit, parts = max(size_px) / 640, list[str]()
    for number, row in enumerate(editor.rows):
        left, top, right, bottom = row.box
        chosen = number == editor.selected
        colour = "#0f766e" if row.holds else "#9ca3af"
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" '
            f'fill="{colour}" fill-opacity="{0.25 if chosen else 0}" stroke="{colour}" '
            f'stroke-width="{(4 if chosen else 2) * unit:.1f}" '
            f'stroke-dasharray="{"none" if row.holds else f"{4 * unit:.1f}"}"/>'
            f'<text x="{left + 3 * unit:.1f}" y="{max(top + 14 * unit, 14 * unit):.1f}" '
            f'font-size="{13 * unit:.1f}" font-weight="700" fill="{colour}" stroke="#ffffff" '
            f'stroke-width="{3 * unit:.1f}" paint-order="stroke">{number + 1}</text>'
        )
    if editor.first_corner is not None:
        x, y = editor.first_corner
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{5 * unit:.1f}" fill="#be123c"/>')
    return "".join(parts)
