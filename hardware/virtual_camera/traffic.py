"""Vehicles in lanes by the intelligent driver model, and a signal that stops them for people who cross.

Treiber, Hennecke and Helbing, *Congested traffic states in empirical observations and microscopic
simulations*, Phys. Rev. E 62 (2000). Each lane is straight; the stop line is a leader that stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CYCLE_S, DRIVE_S, WALK_FROM_S, WALK_TO_S = 40.0, 20.0, 24.0, 32.0
"""Vehicles drive from 0 to `DRIVE_S` of each cycle; people may start to cross between the other two."""
ACCELERATION_MPS2, BRAKING_MPS2, HEADWAY_S, GAP_M = 1.6, 2.2, 1.3, 2.2
KINDS = ("car", "bus", "truck")
LENGTHS_M = np.array([4.4, 11.0, 6.8])
VEHICLE_IDS = 500_000
"""Added to the number of a vehicle within its day."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A straight lane with a stop line ``stop_m`` after its start."""

    start_m: tuple[float, float]
    end_m: tuple[float, float]
    stop_m: float
    speed_mps: float
    rate_per_min: float


@dataclass(frozen=True)
class Vehicles:
    """The vehicles of a frame, arrays over ``n``."""

    ids: NDArray[np.int64]
    kinds: NDArray[np.int64]
    """Indices into `KINDS`."""
    positions_m: Floats
    """``(n, 2)``: the middle on the floor."""
    headings_rad: Floats
    speeds_mps: Floats
    braking: NDArray[np.bool_]


def may_walk(time_s: float) -> bool:
    """Whether people may start to cross."""
    return WALK_FROM_S <= time_s % CYCLE_S < WALK_TO_S


class _LaneState:
    def __init__(self, lane: Lane, rng: np.random.Generator, until_s: float, first_id: int) -> None:
        self.lane = lane
        gaps = 2.5 + rng.exponential(
            max(60 / max(lane.rate_per_min, 1e-9) - 2.5, 0.5), int(until_s / 2.5) + 1
        )
        self.arrivals = np.cumsum(gaps)
        self.arrivals = self.arrivals[self.arrivals < until_s] if lane.rate_per_min > 0 else np.zeros(0)
        self.kind_of = rng.choice(3, len(self.arrivals), p=[0.86, 0.06, 0.08])
        self.pace_of = lane.speed_mps * rng.uniform(0.85, 1.1, len(self.arrivals))
        self.first_id = first_id
        self.arrived = 0
        self.numbers = np.zeros(0, np.int64)
        self.along_m, self.speeds, self.pulls = np.zeros(0), np.zeros(0), np.zeros(0)
        self.length_m = float(np.hypot(*np.subtract(lane.end_m, lane.start_m)))

    def step(self, time_s: float, step_s: float) -> None:
        if self.arrived < len(self.arrivals) and self.arrivals[self.arrived] <= time_s:
            own = LENGTHS_M[self.kind_of[self.arrived]]
            if (
                not len(self.along_m)
                or self.along_m[-1] - LENGTHS_M[self.kind_of[self.numbers[-1]]] > own + 6
            ):
                self.numbers = np.append(self.numbers, self.arrived)
                self.along_m = np.append(self.along_m, 0.0)
                leader = self.speeds[-1] if len(self.speeds) else np.inf
                self.speeds = np.append(self.speeds, min(self.pace_of[self.arrived], leader))
                self.arrived += 1
        if not len(self.along_m):
            return
        lengths = LENGTHS_M[self.kind_of[self.numbers]]
        front = self.along_m + lengths / 2
        gap, closing = np.full(len(front), 1e4), np.zeros(len(front))
        gap[1:] = self.along_m[:-1] - lengths[:-1] / 2 - front[1:]
        closing[1:] = self.speeds[1:] - self.speeds[:-1]
        to_stop = self.lane.stop_m - front
        if time_s % CYCLE_S >= DRIVE_S:
            held = (to_stop > -0.5) & (to_stop > self.speeds**2 / (2 * 4.0)) & (to_stop < gap)
            gap, closing = np.where(held, to_stop + GAP_M - 0.5, gap), np.where(held, self.speeds, closing)
        desired_gap_m = GAP_M + np.maximum(
            0.0,
            self.speeds * HEADWAY_S + self.speeds * closing / (2 * np.sqrt(ACCELERATION_MPS2 * BRAKING_MPS2)),
        )
        free = (self.speeds / self.pace_of[self.numbers]) ** 4
        self.pulls = np.maximum(
            ACCELERATION_MPS2 * (1 - free - (desired_gap_m / np.maximum(gap, 0.3)) ** 2), -7.0
        )
        self.speeds = np.maximum(0.0, self.speeds + self.pulls * step_s)
        self.along_m = self.along_m + self.speeds * step_s
        if self.along_m[0] > self.length_m:
            self.numbers, self.along_m, self.speeds, self.pulls = (
                values[1:] for values in (self.numbers, self.along_m, self.speeds, self.pulls)
            )


class Traffic:
    """The vehicles of one day."""

    def __init__(
        self, lanes: tuple[Lane, ...], seed: int, day: int, until_s: float, first_id: int, density: float
    ) -> None:
        self._lanes = [
            _LaneState(
                Lane(lane.start_m, lane.end_m, lane.stop_m, lane.speed_mps, lane.rate_per_min * density),
                np.random.default_rng([seed, day, 77, number]),
                until_s,
                first_id + VEHICLE_IDS + 10_000 * number,
            )
            for number, lane in enumerate(lanes)
        ]

    def step(self, time_s: float, step_s: float) -> None:
        """Advance all lanes."""
        for lane in self._lanes:
            lane.step(time_s, step_s)

    def vehicles(self) -> Vehicles:
        """All vehicles now."""
        ids, kinds, positions, headings, speeds, braking = [], [], [], [], [], []
        for state in self._lanes:
            way = np.subtract(state.lane.end_m, state.lane.start_m) / state.length_m
            ids.append(state.first_id + state.numbers)
            kinds.append(state.kind_of[state.numbers])
            positions.append(np.array(state.lane.start_m) + state.along_m[:, None] * way)
            headings.append(np.full(len(state.numbers), np.arctan2(way[1], way[0])))
            speeds.append(state.speeds)
            braking.append((state.pulls < -0.4) | (state.speeds < 0.1))
        if not ids:
            none = np.zeros(0)
            return Vehicles(
                none.astype(int), none.astype(int), np.zeros((0, 2)), none, none, none.astype(bool)
            )
        return Vehicles(
            *(np.concatenate(parts) for parts in (ids, kinds, positions, headings, speeds, braking))
        )
