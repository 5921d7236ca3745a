"""The app's progress in a commit: the readings since the last one, or its whole state.

The app's state follows from a checkpoint of it and the readings behind that, so the lesser of the two is
written. A checkpoint is written

- where the readings take more than the state did;
- where a reading is a frame of a camera: frames are never written, nor held in memory until the commit;
- when the journal is `JOURNAL_SHARE` times the state, after ``checkpoint_interval_s``, and when a replay of
  the readings would take longer than `REPLAY_S`;
- when it is demanded: at the end, and where the state does not follow from the readings alone (another model
  went live).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from common.app.edge import Reading
from common.edge.processing.journal import Decided, encode_readings

JOURNAL_SHARE = 4
"""Maximum size of the journal, as a multiple of the state's."""
MIN_STATE_BYTES = 4096
"""Minimum size at which a state counts: below, it is the same few pages of the disk."""
REPLAY_S = 5.0
"""Maximum duration of a replay after a restart, as measured at the first processing."""
READING_BYTES = 64
"""Size at which a reading counts beside its values."""


FRAME_AXES = 3
"""Axes of the values of a reading that is a frame (`common.app.edge.Reading`)."""


class Written(NamedTuple):
    """Content of a commit: the state, the readings, or neither without a reading."""

    state: bytes | None
    journal: bytes | None


class Progress:
    """The progress of one app since its last checkpoint, at most ``checkpoint_interval_s`` ago."""

    def __init__(self, checkpoint_interval_s: float) -> None:
        self._checkpoint_interval_s = checkpoint_interval_s
        self._readings: list[Decided] = []
        self._pending_bytes = 0
        self._whole = True
        self._state_bytes = 0
        self._journal_bytes = 0
        self._replay_s = 0.0
        self._since_s = 0.0
        self._changed = False
        self.behind = False
        """Whether anything was decided on since the last checkpoint."""

    def add(self, reading: Reading, now_ns: int, took_s: float) -> None:
        """``reading`` was decided on, which took ``took_s``. A frame is never held, nor written."""
        self._changed = self.behind = True
        self._replay_s += took_s
        self._pending_bytes += reading.values.nbytes + READING_BYTES
        if self._whole:
            return
        is_frame = reading.values.ndim == FRAME_AXES
        if is_frame or self._pending_bytes > max(self._state_bytes, MIN_STATE_BYTES):
            self.demand()
        else:
            self._readings.append(Decided(reading, now_ns))

    def passed(self) -> None:
        """The state has changed without a reading, so that it does not follow from the readings alone."""
        self.behind = True
        self.demand()

    def demand(self) -> None:
        """Have the whole state written next."""
        self._whole = True
        self._readings.clear()

    def write(self, now_s: float, state: Callable[[], bytes]) -> Written:
        """Content of the next commit; ``state`` returns the app's whole state. `committed` must follow."""
        if not self._changed and not (self._whole and self.behind):
            return Written(None, None)
        if (
            not self._whole
            and now_s - self._since_s < self._checkpoint_interval_s
            and self._replay_s < REPLAY_S
        ):
            try:
                journal = encode_readings(self._readings)
            except TypeError:
                return Written(state(), None)
            size = self._journal_bytes + len(journal)
            if size <= JOURNAL_SHARE * max(self._state_bytes, MIN_STATE_BYTES):
                return Written(None, journal)
        return Written(state(), None)

    def committed(self, written: Written, now_s: float) -> None:
        """``written`` is in the outbox."""
        self._readings.clear()
        self._pending_bytes = 0
        self._changed = False
        if written.journal is not None:
            self._journal_bytes += len(written.journal)
        elif written.state is not None:
            self._state_bytes = len(written.state)
            self._journal_bytes = 0
            self._replay_s = 0.0
            self._since_s = now_s
            self._whole = self.behind = False
