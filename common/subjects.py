"""State of each subject of an app, bounded: newcomers are refused at capacity, silence forgets.

Rules:

- At most ``limit`` subjects are held. A newcomer beyond that is refused (`CapacityReached`); those that are
  held are never evicted by count, also where the limit was lowered under their number.
- A subject is forgotten after ``forget_after_s`` without a reading, counted by the readings' capture times,
  so that the same readings forget the same subjects. The count is the time that passed between consecutive
  readings of any one subject, refused ones included: capture times of different subjects are never compared,
  and one step counts for half of ``forget_after_s`` at most. So one wrong clock forgets nobody.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from common.errors import CapacityReached

S = TypeVar("S")


@dataclass(slots=True)
class _Clock:
    """Newest capture time of a subject, and the elapsed time of the map at that reading."""

    captured_ns: int
    seen_ns: int


@dataclass(frozen=True, slots=True)
class Forgotten(Generic[S]):
    """A subject that was silent for too long: its last state, and the capture time of its last reading."""

    subject: str
    state: S
    captured_ns: int


class SubjectMap(Generic[S]):
    """Subjects with their states. ``setting`` names the setting that ``limit`` comes from.

    >>> machines = SubjectMap[float](2, 3600.0, setting="max_machines")
    >>> machines.find("engine-1", captured_ns=0)          # None: new, and there is room
    >>> machines.keep("engine-1", captured_ns=0, state=1.0)
    []
    """

    def __init__(self, limit: int, forget_after_s: float, *, setting: str) -> None:
        self._limit = limit
        self._forget_after_ns = int(forget_after_s * 1e9)
        self._setting = setting
        self._states: OrderedDict[str, S] = OrderedDict()  # the longest silent first
        self._clocks: dict[str, _Clock] = {}
        self._newcomers: _Clock | None = None
        self._elapsed_ns = 0

    def __len__(self) -> int:
        return len(self._states)

    def __iter__(self) -> Iterator[str]:
        return iter(self._states)

    def __getitem__(self, subject: str) -> S:
        return self._states[subject]

    def find(self, subject: str, captured_ns: int) -> S | None:
        """State of ``subject``, None for a newcomer that has room. Raises `CapacityReached`."""
        state = self._states.get(subject)
        if state is not None:
            return state
        newcomers = self._advance(self._newcomers, captured_ns)
        if len(self._states) - self._silent() < self._limit:
            self._newcomers = None
            return None
        self._newcomers = newcomers
        raise CapacityReached(
            f"{subject} is refused: this node holds {len(self._states)} others and {self._setting} is "
            f"{self._limit}; raise it, or give {subject} to another node",
            subject,
            self._limit,
        )

    def keep(self, subject: str, captured_ns: int, state: S) -> list[Forgotten[S]]:
        """Hold the state of ``subject`` after its reading; gives whom the passed time has forgotten."""
        self._clocks[subject] = self._advance(self._clocks.get(subject), captured_ns)
        self._states[subject] = state
        self._states.move_to_end(subject)
        forgotten: list[Forgotten[S]] = []
        for _ in range(self._silent()):
            gone, last = self._states.popitem(last=False)
            forgotten.append(Forgotten(gone, last, self._clocks.pop(gone).captured_ns))
        return forgotten

    def snapshot(self, encode: Callable[[S], Mapping[str, Any]]) -> dict[str, Any]:
        """Everything as JSON values and what ``encode`` gives, for `restore`."""
        newcomers = self._newcomers
        return {
            "elapsed_ns": self._elapsed_ns,
            "newcomers": None if newcomers is None else [newcomers.captured_ns, newcomers.seen_ns],
            "subjects": [
                {
                    "subject": subject,
                    "captured_ns": self._clocks[subject].captured_ns,
                    "seen_ns": self._clocks[subject].seen_ns,
                    "state": encode(state),
                }
                for subject, state in self._states.items()
            ],
        }

    def restore(self, saved: Mapping[str, Any], decode: Callable[[str, Mapping[str, Any]], S]) -> None:
        """Take over what `snapshot` gave; ``decode`` gets the subject and its encoded state."""
        states = {each["subject"]: decode(each["subject"], each["state"]) for each in saved["subjects"]}
        self._states = OrderedDict(states)
        self._clocks = {
            each["subject"]: _Clock(each["captured_ns"], each["seen_ns"]) for each in saved["subjects"]
        }
        self._newcomers = None if saved["newcomers"] is None else _Clock(*saved["newcomers"])
        self._elapsed_ns = saved["elapsed_ns"]

    def _advance(self, clock: _Clock | None, captured_ns: int) -> _Clock:
        """The clock of a subject after a reading; the map's elapsed time moves with it."""
        if clock is None:
            return _Clock(captured_ns, self._elapsed_ns)
        step_ns = min(max(0, captured_ns - clock.captured_ns), self._forget_after_ns // 2)
        self._elapsed_ns = max(self._elapsed_ns, clock.seen_ns + step_ns)
        return _Clock(max(clock.captured_ns, captured_ns), self._elapsed_ns)

    def _silent(self) -> int:
        """Number of subjects beyond their time of silence."""
        count = 0
        for subject in self._states:
            if self._elapsed_ns - self._clocks[subject].seen_ns <= self._forget_after_ns:
                break
            count += 1
        return count
