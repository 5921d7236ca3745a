"""The path of a reading through the models: the live one decides, a companion sees the same reading.

Only the live model's results leave the node. In shadow the companion is a candidate, whose results are
dropped. In a soak it is the previous model on standby: its results replace those of a reading on which the
live model fails. A reading is unusable (`ReadingError`) if the live model and a companion on standby cannot
use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from common.app.edge import Reading, Sample, State
from common.edge.inference.instance import Instance, Outcome
from common.errors import ReadingError
from common.messages import Event


@dataclass(frozen=True, slots=True)
class Decision:
    """The results for one reading, and the outcome of each model; ``companion`` is None where none ran."""

    results: Sequence[Event | Sample]
    live: Outcome
    companion: Outcome | None = None


class ModelPair:
    """The live model and its companion; belongs to the process thread, but for reading `live`."""

    def __init__(self) -> None:
        self.live: Instance
        self._companion: Instance | None = None
        self._standby = False

    def set_companion(self, companion: Instance | None, *, standby: bool = False) -> None:
        """Run ``companion`` beside the live model from the next reading on."""
        self._companion, self._standby = companion, standby and companion is not None

    def decide(self, reading: Reading, now_ns: int) -> Decision:
        """Run the models. Raises `ReadingError` for a reading that is unusable whatever the model."""
        companion = self._companion
        unusable: ReadingError | None = None
        results: list[Event | Sample] = []
        try:
            results, live = self.live.run(reading, now_ns)
        except ReadingError as error:
            if not self._standby:
                raise
            unusable, live = error, _unusable_outcome(error)
        if companion is None:
            return Decision(results, live)
        try:
            spare, other = companion.run(reading, now_ns)
        except ReadingError as error:
            if unusable is not None:
                raise unusable from error
            spare, other = [], _unusable_outcome(error)
        if self._standby and live.error and not other.error:
            results = spare
        return Decision(results, live, other)

    def pass_time(self, now_ns: int) -> list[Event]:
        """The live model's events without a reading; a companion sees the same time."""
        if self._companion is not None:
            self._companion.pass_time(now_ns)
        return self.live.pass_time(now_ns)

    def replay(self, reading: Reading, now_ns: int) -> bool:
        """Decide on a reading for the state alone. False if the live app cannot use it."""
        if self._companion is not None:
            with suppress(ReadingError):
                self._companion.run(reading, now_ns)
        try:
            self.live.run(reading, now_ns)
        except ReadingError:
            return False
        return True

    def restore_companion(self, state: State) -> None:
        """Give a saved state to the companion, if there is one."""
        if self._companion is not None:
            self._companion.app.restore(state)


def _unusable_outcome(error: ReadingError) -> Outcome:
    return Outcome(f"unusable only with this model: {error}")
