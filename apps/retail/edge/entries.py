"""Entries of a line: members of a group that enters together, and people who come back.

Both are options of the line.

- With ``group_s``, an entry joins a group if the group's first member entered at most that long ago, one of
  its members crossed the line within `GROUP_HEIGHTS` heights of a person, and it has room. Strangers who
  enter so close together are one group too.
- With ``reentry_s``, an entry is a return if somebody alike (`common.vision.appearance`) went out through the
  line within that time; each exit explains one return. Colours of clothes are all that is kept of those who
  went out: in memory, for that time, for the last `LEFT_LIMIT` of them. After a restart nobody is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.retail.domain import CountingLine
from common.vision.appearance import ALIKE, difference
from common.vision.lines import Crossing, Point

GROUP_HEIGHTS = 1.2
GROUP_MEMBERS = 8
LEFT_LIMIT = 200
GROUPS_LIMIT = 50


@dataclass(frozen=True, slots=True)
class Person:
    """A person who crosses: height in the picture and appearance, as far as the frame shows them."""

    height_px: float = 0.0
    appearance: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """Whether an entry begins a group, and whether it is a return; False where the option is off."""

    begins_group: bool = False
    returned: bool = False


@dataclass(slots=True)
class _Group:
    first_ns: int
    members: list[tuple[Point, float]]


class Entries:
    """Of one line; belongs to one thread."""

    def __init__(self, line: CountingLine) -> None:
        self._line = line
        self._groups: list[_Group] = []
        self._left: list[tuple[int, NDArray[np.float32]]] = []

    def cross(self, crossing: Crossing, person: Person) -> Entry:
        """Take in a crossing, in order; its properties as an entry."""
        if crossing.direction == "out":
            self._remember(crossing.time_ns, person)
            return Entry()
        begins = bool(self._line.group_s) and self._begins_group(crossing, person.height_px)
        returned = bool(self._line.reentry_s) and self._is_return(crossing.time_ns, person)
        return Entry(begins, returned)

    def _begins_group(self, crossing: Crossing, height_px: float) -> bool:
        limit_ns = self._line.group_s * 1e9
        self._groups = [each for each in self._groups if abs(crossing.time_ns - each.first_ns) <= limit_ns]
        member = (crossing.point_px, height_px)
        for group in self._groups:
            if len(group.members) < GROUP_MEMBERS and any(_near(each, member) for each in group.members):
                group.members.append(member)
                return False
        self._groups = [*self._groups, _Group(crossing.time_ns, [member])][-GROUPS_LIMIT:]
        return True

    def _remember(self, time_ns: int, person: Person) -> None:
        if self._line.reentry_s and person.appearance is not None:
            self._left = [*self._left, (time_ns, person.appearance)][-LEFT_LIMIT:]

    def _is_return(self, time_ns: int, person: Person) -> bool:
        limit_ns = self._line.reentry_s * 1e9
        self._left = [each for each in self._left if abs(time_ns - each[0]) <= limit_ns]
        if person.appearance is None or not self._left:
            return False
        differences = [difference(person.appearance, appearance) for _, appearance in self._left]
        nearest = int(np.argmin(differences))
        if differences[nearest] > ALIKE:
            return False
        del self._left[nearest]
        return True


def _near(first: tuple[Point, float], second: tuple[Point, float]) -> bool:
    return math.dist(first[0], second[0]) <= GROUP_HEIGHTS * max(first[1], second[1])
