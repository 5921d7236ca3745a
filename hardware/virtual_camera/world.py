"""The world behind a virtual camera: positions and crossings of each frame, without pictures.

A world is a function of (scene, seed, frame rate, density, frame index). Time is cut into days of `DAY_S`:
each but the first begins with an empty scene, nobody arrives in its last two minutes, and a person still
there at its end leaves without a crossing. So frame n costs at most one day of steps without a picture,
wherever a source begins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import ceil

import numpy as np
from numpy.typing import NDArray

from hardware.virtual_camera.body import Look
from hardware.virtual_camera.passages import Crossing, Passages
from hardware.virtual_camera.scene import Scene
from hardware.virtual_camera.traffic import Traffic, Vehicles
from hardware.virtual_camera.walkers import Walkers
from hardware.virtual_camera.walking import MAX_STEP_S, Walls

Floats = NDArray[np.float64]

DAY_S = 1200.0
WARM_UP_S = 40.0
"""Time that the first day has run at frame 0."""
QUIET_S = 120.0
"""No arrivals in the last seconds of a day; nobody pauses in the second half of them."""
IDS_A_DAY = 1_000_000
MAX_PEOPLE = 120
"""Arrivals are turned away above this (and counted in `WorldFrame.turned_away`)."""


@dataclass(frozen=True)
class WorldFrame:
    """The truth about all people at one frame, in the order of their ids, arrays over ``n`` people."""

    frame: int
    time_s: float
    ids: NDArray[np.int64]
    positions_m: Floats
    velocities_mps: Floats
    headings_rad: Floats
    phases_rad: Floats
    trolleys: NDArray[np.bool_]
    staff: NDArray[np.bool_]
    queued: tuple[str, ...]
    """Name of the queue in which each stands, or empty."""
    looks: tuple[Look, ...]
    vehicles: Vehicles
    crossings: tuple[Crossing, ...]
    """Those that this frame completes."""
    turned_away: int
    scene: Scene = field(repr=False)

    @cached_property
    def zones(self) -> dict[str, tuple[int, ...]]:
        """Ids inside of each zone."""
        return {
            zone.name: tuple(self.ids[_inside(self.positions_m, np.array(zone.polygon_m))].tolist())
            for zone in self.scene.zones
        }


def _inside(points: Floats, polygon: Floats) -> NDArray[np.bool_]:
    """Mask ``(n,)`` of the points ``(n, 2)`` in the polygon, by the even-odd rule."""
    after = np.roll(polygon, -1, axis=0)
    above = polygon[:, 1] > points[:, 1:2]
    spans = above != (after[:, 1] > points[:, 1:2])
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (after[:, 0] - polygon[:, 0]) / (after[:, 1] - polygon[:, 1])
        left_of = points[:, :1] < polygon[:, 0] + slope * (points[:, 1:2] - polygon[:, 1])
    return (spans & left_of).sum(1) % 2 == 1


class World:
    """People and vehicles of one scene, stepped frame by frame."""

    def __init__(self, scene: Scene, seed: int, frames_per_s: float, density: float = 1.0) -> None:
        self.scene = scene
        self.frames_per_s = frames_per_s
        self.frames_a_day = max(1, round((DAY_S + WARM_UP_S) * frames_per_s))
        self._seed = seed
        self._density = density
        self._walls = Walls.from_segments(scene.obstacles())
        self._substeps = ceil(1 / frames_per_s / MAX_STEP_S)
        self._step_s = 1 / frames_per_s / self._substeps
        self._begin_day(0)

    def frame(self, index: int) -> WorldFrame:
        """The world at frame ``index``; frames before it cost steps of the walkers only."""
        day = index // self.frames_a_day
        if day != self._day or index < self._index:
            self._begin_day(day)
        while self._index < index:
            self._next_frame()
        return self._current

    def _begin_day(self, day: int) -> None:
        self._day = day
        self._index = day * self.frames_a_day
        self._clock_s = 0.0
        self._passages = Passages(self.scene.lines)
        first_id = day * IDS_A_DAY
        self._walkers = Walkers(self.scene.queues, self._walls, self._step_s, first_id + 1)
        self._traffic = Traffic(self.scene.lanes, self._seed, day, DAY_S - QUIET_S, first_id, self._density)
        self._arrivals = self._draw_arrivals()
        self._arrived = 0
        self._turned_away = 0
        if day == 0:  # somebody is there in frame 0
            self._index -= round(WARM_UP_S * self.frames_per_s)
            while self._index < 0:
                self._next_frame()
        self._current = self._truth(())

    def _draw_arrivals(self) -> list[tuple[float, int, int]]:
        """Time, flow and number within the flow of all parties of a day, in order of time."""
        rng = np.random.default_rng([self._seed, self._day])
        arrivals: list[tuple[float, int, int]] = []
        until = DAY_S - QUIET_S
        for kind, flow in enumerate(self.scene.flows):
            rate = flow.rate_per_min / 60 * self._density
            times = rng.uniform(0, until, rng.poisson(rate * until))  # a Poisson process, given its count
            arrivals += [(float(time), kind, number) for number, time in enumerate(times)]
        return sorted(arrivals)

    def _next_frame(self) -> None:
        self._index += 1
        self._clock_s += 1 / self.frames_per_s
        self._arrive()
        before = self._walkers.positions_m
        hurry = self._clock_s > DAY_S - QUIET_S / 2
        for _ in range(self._substeps):
            self._walkers.walk(self._clock_s, hurry=hurry)
            self._traffic.step(self._clock_s, self._step_s)
        ids = np.array([person.id for person in self._walkers.people], np.int64)
        crossings = self._passages.update(self._index, ids, before, self._walkers.positions_m)
        self._walkers.depart()
        self._current = self._truth(crossings)

    def _arrive(self) -> None:
        while self._arrived < len(self._arrivals) and self._arrivals[self._arrived][0] <= self._clock_s:
            _, kind, number = self._arrivals[self._arrived]
            self._arrived += 1
            rng = np.random.default_rng([self._seed, self._day, kind, number])
            trip = self.scene.flows[kind].trip(rng)
            if len(self._walkers.people) + trip.size > MAX_PEOPLE:
                self._turned_away += trip.size
            else:
                self._walkers.enter(trip, rng)

    def _truth(self, crossings: tuple[Crossing, ...]) -> WorldFrame:
        walkers, people = self._walkers, self._walkers.people
        return WorldFrame(
            self._index,
            self._index / self.frames_per_s,
            np.array([person.id for person in people], np.int64),
            walkers.positions_m.copy(),
            walkers.velocities_mps.copy(),
            walkers.headings_rad.copy(),
            walkers.phases_rad.copy(),
            np.array([person.trolley for person in people], bool),
            np.array([person.staff for person in people], bool),
            tuple(person.queue if person.place >= 0 else "" for person in people),
            tuple(person.look for person in people),
            self._traffic.vehicles(),
            crossings,
            self._turned_away,
            self.scene,
        )
