"""Events of episodes, with the same id at begin and end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apps.ecg import events
from apps.ecg.edge.episodes import EpisodeChange
from apps.ecg.edge.recording import Recording, rounded
from common.messages import Event


class EpisodeLog:
    """Ongoing episodes of one recording by their time of begin."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._began_ns: dict[str, int] = {}

    def event(self, change: EpisodeChange, at: int) -> Event:
        """The ``ecg.rhythm`` of a change, known at sample ``at``."""
        recording = self._recording
        began_ns = self._began_ns.setdefault(change.label, recording.timeline.ns(change.began))
        ended_ns = None
        if change.ended is not None:
            ended_ns = max(began_ns, recording.timeline.ns(change.ended))
            del self._began_ns[change.label]
        data = events.Rhythm(
            episode=f"{change.label}-{began_ns}",
            label=change.label,
            state="began" if ended_ns is None else "ended",
            began_ns=began_ns,
            ended_ns=ended_ns,
            beats=change.beats,
            heart_rate_bpm=rounded(change.heart_rate_bpm, 1),
            version=recording.version,
            virtual=recording.virtual,
        )
        return recording.event(data, at)

    def snapshot(self) -> dict[str, int]:
        """The state, for `restore`."""
        return dict(self._began_ns)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of `snapshot`."""
        self._began_ns = dict(state)
