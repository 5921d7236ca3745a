"""Walking by the social-force model.

Helbing and Molnár, *Social force model for pedestrian dynamics*, Phys. Rev. E 51 (1995): a driving force
towards the target at the desired speed, repulsion by others with an elliptic potential that is weaker
behind the back, repulsion by walls; their parameters. Added: a sidestep to the right before somebody who
comes from ahead, contact (bodies do not overlap), and walls as hard limits, so that nobody passes one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RELAXATION_S = 0.5
REPULSION_MPS2, REPULSION_RANGE_M, STEP_TIME_S = 7.0, 0.3, 0.8
WALL_MPS2, WALL_RANGE_M = 50.0, 0.14
BACK_WEIGHT, SIGHT_COSINE = 0.5, float(np.cos(np.radians(100)))
BODY_RADIUS_M = 0.22
OVERSPEED = 1.3
MAX_STEP_S = 0.1


@dataclass(frozen=True)
class Walls:
    """Segments that nobody passes: start ``(n, 2)`` and extent ``(n, 2)``."""

    start_m: Floats
    along_m: Floats

    @classmethod
    def from_segments(cls, segments_m: Floats) -> Walls:
        """Walls of ``(n, 2, 2)`` end points."""
        return cls(segments_m[:, 0], segments_m[:, 1] - segments_m[:, 0])

    def away(self, positions_m: Floats) -> tuple[Floats, Floats]:
        """From the nearest point of each wall to each position: vectors ``(n, walls, 2)`` and distances."""
        offset = positions_m[:, None] - self.start_m
        square = np.maximum((self.along_m**2).sum(-1), 1e-12)
        share = np.clip((offset * self.along_m).sum(-1) / square, 0.0, 1.0)
        away = offset - share[..., None] * self.along_m
        return away, np.sqrt((away**2).sum(-1))


def step(
    positions_m: Floats,
    velocities_mps: Floats,
    desired_mps: Floats,
    walls: Walls,
    parties: NDArray[np.int64],
    fixed: NDArray[np.bool_],
    step_s: float,
) -> tuple[Floats, Floats]:
    """Positions and velocities ``(n, 2)`` after ``step_s`` (at most `MAX_STEP_S`).

    ``desired_mps`` are desired velocities ``(n, 2)``; people of one party repel each other less; ``fixed``
    people keep their place.
    """
    count = len(positions_m)
    force = (desired_mps - velocities_mps) / RELAXATION_S
    speed = np.sqrt((desired_mps**2).sum(-1, keepdims=True))
    direction = desired_mps / np.maximum(speed, 1e-9)
    if count > 1:
        apart = positions_m[:, None] - positions_m[None]
        distance = np.sqrt((apart**2).sum(-1)) + 1e-9
        ahead = velocities_mps[None] * STEP_TIME_S
        later = apart - ahead
        later_distance = np.sqrt((later**2).sum(-1)) + 1e-9
        both = distance + later_distance
        minor = 0.5 * np.sqrt(np.maximum(both**2 - (ahead**2).sum(-1), 1e-4))
        strength = REPULSION_MPS2 * np.exp(-minor / REPULSION_RANGE_M) * both / (4 * minor)
        same_party = parties[:, None] == parties[None]
        strength = np.where(same_party, 0.3 * strength, strength)
        np.fill_diagonal(strength, 0.0)
        push = strength[..., None] * (apart / distance[..., None] + later / later_distance[..., None])
        towards = -(apart * direction[:, None]).sum(-1) / distance
        push *= np.where(towards >= SIGHT_COSINE, 1.0, BACK_WEIGHT)[..., None]
        closing = (velocities_mps[:, None] * velocities_mps[None]).sum(-1) < 0
        facing = closing & (towards > 0.8) & (distance < 2.5) & ~same_party
        aside = np.where(facing, 1.6 * (1 - distance / 2.5), 0.0).sum(1, keepdims=True)
        force += np.minimum(push, 12.0).sum(1)
        force += aside * np.stack([direction[:, 1], -direction[:, 0]], axis=1)
    if len(walls.start_m):
        away, gap = walls.away(positions_m)
        repulsion = WALL_MPS2 * np.exp(-np.maximum(gap, 0.02) / WALL_RANGE_M)
        force += (repulsion[..., None] * away / np.maximum(gap, 1e-6)[..., None]).sum(1)

    velocities_mps = velocities_mps + force * step_s
    limit = OVERSPEED * np.maximum(speed, 0.3)
    pace = np.sqrt((velocities_mps**2).sum(-1, keepdims=True))
    velocities_mps = velocities_mps * np.minimum(1.0, limit / np.maximum(pace, 1e-9))
    velocities_mps[fixed] = 0.0
    moved = positions_m + velocities_mps * step_s
    if count > 1:
        moved = _without_overlap(moved, fixed)
    return _before_walls(positions_m, moved, walls), velocities_mps


def _without_overlap(positions_m: Floats, fixed: NDArray[np.bool_]) -> Floats:
    apart = positions_m[:, None] - positions_m[None]
    distance = np.sqrt((apart**2).sum(-1)) + 1e-9
    overlap = np.maximum(0.0, 2 * BODY_RADIUS_M - distance)
    np.fill_diagonal(overlap, 0.0)
    if not overlap.any():
        return positions_m
    shift = (0.3 * overlap[..., None] * apart / distance[..., None]).sum(1)
    shift[fixed] = 0.0
    length = np.sqrt((shift**2).sum(-1, keepdims=True))
    return positions_m + shift * np.minimum(1.0, 0.05 / np.maximum(length, 1e-9))


def _before_walls(before_m: Floats, moved_m: Floats, walls: Walls) -> Floats:
    """``moved_m`` out of the walls' reach; whoever would still pass one stays where they were."""
    if not len(walls.start_m):
        return moved_m
    for _ in range(2):
        away, gap = walls.away(moved_m)
        nearest = gap.argmin(1)
        rows = np.arange(len(moved_m))
        reach = BODY_RADIUS_M - gap[rows, nearest]
        inside = reach > 0
        if not inside.any():
            return moved_m
        shift = away[rows, nearest] / np.maximum(gap[rows, nearest], 1e-6)[:, None] * reach[:, None]
        moved_m = np.where(inside[:, None], moved_m + shift, moved_m)
    passed = crossed(before_m, moved_m, walls.start_m, walls.start_m + walls.along_m)
    blocked: NDArray[np.bool_] = np.logical_or.reduce(passed != 0, axis=1)
    return np.where(blocked[:, None], before_m, moved_m)


def right_of(points_m: Floats, start_m: Floats, end_m: Floats) -> NDArray[np.bool_]:
    """Mask ``(n, segments)`` of the points ``(n, 2)`` to the right of start to end; not one on the line."""
    along, offset = end_m - start_m, points_m[:, None] - start_m
    return along[:, 0] * offset[..., 1] - along[:, 1] * offset[..., 0] < 0


def crossed(before_m: Floats, after_m: Floats, start_m: Floats, end_m: Floats) -> NDArray[np.int8]:
    """Crossings ``(n, segments)`` of the ways before to after: 1 to the right of start to end, -1, or 0.

    A point on the line itself is on the left.
    """
    side_before, side_after = right_of(before_m, start_m, end_m), right_of(after_m, start_m, end_m)
    way = (after_m - before_m)[:, None]
    to_start, to_end = start_m - before_m[:, None], end_m - before_m[:, None]
    turn_start = way[..., 0] * to_start[..., 1] - way[..., 1] * to_start[..., 0]
    turn_end = way[..., 0] * to_end[..., 1] - way[..., 1] * to_end[..., 0]
    within = (turn_start > 0) != (turn_end > 0)
    return ((side_before != side_after) & within) * np.where(side_after, 1, -1).astype(np.int8)
