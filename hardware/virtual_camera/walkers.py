"""Walkers: positions of people, and their ways from stop to stop and through queues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware.virtual_camera.body import Look, draw_look
from hardware.virtual_camera.scene import Queue, Stop, Trip
from hardware.virtual_camera.traffic import may_walk
from hardware.virtual_camera.walking import Walls, step

Floats = NDArray[np.float64]

STUCK_S = 3.0
"""Time below 0.3 of the desired speed after which a person steps back."""
STRIDE_M = 1.45
"""Two steps of a person of 1.75 m."""


@dataclass
class Walker:
    """One person and the way that it follows."""

    id: int
    look: Look
    start_m: tuple[float, float]
    stops: tuple[Stop, ...]
    offset_m: Floats
    speed_mps: float
    trolley: bool
    staff: bool
    stop: int = 0
    wait_s: float = -1.0
    place: int = -1
    """Place in the queue, 0 at the service; -1 for none."""
    leaves: bool = False

    @property
    def queue(self) -> str:
        """Name of the queue of the current stop, or empty."""
        return self.stops[self.stop].queue


_ARRAYS = (
    "positions_m", "velocities_mps", "headings_rad", "phases_rad", "_targets", "_radii", "_paces",
    "_attended", "_parties", "_stuck_s", "_returning",
)  # fmt: skip


class Walkers:
    """Everybody in a scene, in the order of their ids: ``people``, and arrays with a row for each."""

    def __init__(self, queues: Sequence[Queue], walls: Walls, step_s: float, first_id: int) -> None:
        self.people: list[Walker] = []
        self.positions_m, self.velocities_mps = np.zeros((0, 2)), np.zeros((0, 2))
        self.headings_rad, self.phases_rad = np.zeros(0), np.zeros(0)
        self._queues = {queue.name: queue for queue in queues}
        self._walls = walls
        self._step_s = step_s
        self._next_id = first_id
        self._targets, self._radii, self._paces = np.zeros((0, 2)), np.zeros(0), np.zeros(0)
        self._attended, self._parties = np.zeros(0, bool), np.zeros(0, np.int64)
        self._stuck_s, self._returning = np.zeros(0), np.zeros(0, bool)

    def enter(self, trip: Trip, rng: np.random.Generator) -> None:
        """A party begins its trip, side by side."""
        party = self._next_id
        pace = float(np.clip(rng.normal(1.25, 0.2), 0.75, 1.7))
        first = np.array(trip.stops[0].at_m) - trip.start_m
        first /= max(np.hypot(*first), 1e-9)
        aside = np.array([first[1], -first[0]])
        for member in range(trip.size):
            offset = (member - (trip.size - 1) / 2) * 0.65
            person = Walker(
                self._next_id,
                draw_look(rng, staff=trip.staff),
                trip.start_m,
                trip.stops,
                np.array([abs(aside[0]) * offset, abs(aside[1]) * offset]),
                pace,
                trip.trolley and member == 0,
                trip.staff,
            )
            self._next_id += 1
            self.people.append(person)
            at = np.array(trip.start_m) + aside * offset + rng.normal(0, 0.05, 2)
            heading, phase = np.arctan2(first[1], first[0]), rng.uniform(0, 2 * np.pi)
            row = (at, first * pace, heading, phase, at, 0.0, pace, False, party, 0.0, False)
            for name, value in zip(_ARRAYS, row, strict=True):
                setattr(self, name, np.concatenate([getattr(self, name), np.array([value])]))
            self._aim(len(self.people) - 1)

    def walk(self, time_s: float, *, hurry: bool) -> None:
        """One step; ``hurry`` ends all pauses, ``time_s`` is that of the signal."""
        people = self.people
        if not people:
            return
        way = self._targets - self.positions_m
        distance = np.sqrt((way**2).sum(-1))
        pace = self._paces.copy()
        facing = np.full(len(people), np.nan)
        for row in np.flatnonzero(self._attended | (distance < self._radii)).tolist():
            pace[row], facing[row] = self._attend(row, float(distance[row]), time_s, hurry=hurry)
        desired = way * (pace / np.maximum(distance, 1e-6))[:, None]
        fixed = np.array([person.wait_s >= 0 for person in people]) & (pace == 0)
        self.positions_m, self.velocities_mps = step(
            self.positions_m, self.velocities_mps, desired, self._walls, self._parties, fixed, self._step_s
        )
        speed = np.sqrt((self.velocities_mps**2).sum(-1))
        self._stuck_s += np.where((pace > 0) & (speed < 0.3 * pace), self._step_s, -3 * self._step_s)
        self._stuck_s = np.maximum(self._stuck_s, 0.0)
        for row in np.flatnonzero(self._stuck_s > STUCK_S).tolist():
            self._step_back(row)
        self.phases_rad = (self.phases_rad + 2 * np.pi * speed * self._step_s / STRIDE_M) % (2 * np.pi)
        course = np.arctan2(self.velocities_mps[:, 1], self.velocities_mps[:, 0])
        desired_rad = np.where(speed > 0.25, course, self.headings_rad)
        desired_rad = np.where(np.isnan(facing), desired_rad, facing)
        turn = (desired_rad - self.headings_rad + np.pi) % (2 * np.pi) - np.pi
        self.headings_rad = self.headings_rad + np.clip(turn, -4.0 * self._step_s, 4.0 * self._step_s)

    def depart(self) -> None:
        """Remove those at the end of their way."""
        stays = np.array([not person.leaves for person in self.people], bool)
        if not stays.all():
            self.people = [person for person in self.people if not person.leaves]
            for name in _ARRAYS:
                setattr(self, name, getattr(self, name)[stays])

    def _attend(self, row: int, gap_m: float, time_s: float, *, hurry: bool) -> tuple[float, float]:
        """Pace and direction of somebody at a stop or in a queue; the pause, and the next stop after it."""
        person = self.people[row]
        if self._returning[row]:
            self._aim(row)
            return person.speed_mps, np.nan
        stop = person.stops[person.stop]
        queue = self._queues.get(stop.queue)
        if queue is not None:
            self._targets[row] = self._place(person, queue)
        if person.wait_s < 0 and gap_m < stop.radius_m and (queue is None or person.place == 0):
            person.wait_s = 0.0 if hurry else stop.wait_s
            self._attended[row] = True
        if person.wait_s < 0 and (queue is None or gap_m >= 0.5):
            return person.speed_mps, np.nan
        facing = stop.facing_rad if queue is None else queue.facing_rad
        if person.wait_s >= 0 and (hurry or not stop.signal or may_walk(time_s)):
            person.wait_s -= self._step_s
            if person.wait_s <= 0:
                person.wait_s, person.place = -1.0, -1
                if person.stop + 1 == len(person.stops):
                    person.leaves = True
                else:
                    person.stop += 1
                    self._aim(row)
                return person.speed_mps, np.nan
        pace = 0.0 if gap_m < 0.35 else min(0.5, person.speed_mps)
        return pace, np.nan if facing is None else facing

    def _step_back(self, row: int) -> None:
        """Send somebody who is stuck, behind a corner or in a knot, to where the straight way began."""
        person = self.people[row]
        self._stuck_s[row] = 0.0
        if person.queue or person.wait_s >= 0:
            return
        before = person.start_m if person.stop == 0 else person.stops[person.stop - 1].at_m
        if self._returning[row] or np.hypot(*(before - self.positions_m[row])) < 1.0:
            self._aim(row)
        else:
            self._targets[row], self._radii[row], self._returning[row] = before, 0.7, True

    def _aim(self, row: int) -> None:
        """Set a person's target to the current stop."""
        person = self.people[row]
        stop = person.stops[person.stop]
        beside = person.offset_m if stop.wait_s == 0 and not stop.queue else 0.0
        self._targets[row] = np.array(stop.at_m) + beside
        self._radii[row] = stop.radius_m
        self._returning[row] = False
        self._attended[row] = bool(stop.queue)

    def _place(self, person: Walker, queue: Queue) -> tuple[float, float]:
        """The person's place in a queue: behind all who joined it before."""
        if person.place < 0:
            ahead = [other.place for other in self.people if other.place >= 0 and other.queue == queue.name]
            person.place = min(max(ahead, default=-1) + 1, len(queue.places_m) - 1)
        elif person.place > 0:
            taken = {
                other.place for other in self.people if other is not person and other.queue == queue.name
            }
            if person.place - 1 not in taken:
                person.place -= 1
        return queue.places_m[person.place]
