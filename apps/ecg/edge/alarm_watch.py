"""Alarms of one recording: the patient's state at each tick, and the events of alarms."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from apps.ecg import events
from apps.ecg.app import EcgSettings
from apps.ecg.edge.alarms import Alarms, Change
from apps.ecg.edge.conditions import RUN_DELAY_S, PatientState, alarm_table, observe
from apps.ecg.edge.episodes import SURE_P, Episodes
from apps.ecg.edge.history import KnownBeat
from apps.ecg.edge.recording import Recording
from common.messages import Event

CHECK_INTERVAL_S = 0.5
"""Interval of observations."""
NOT_CONNECTED = frozenset({"lead_off", "flat"})
"""Reasons of bad quality of a disconnected lead."""
BEATS_LIMIT = 512


class AlarmWatch:
    """Observes one recording; ``raised`` is called with the sample and the name of each raised alarm."""

    def __init__(
        self,
        recording: Recording,
        episodes: Episodes,
        settings: EcgSettings,
        raised: Callable[[int, str], None],
    ) -> None:
        self._recording = recording
        self._episodes = episodes
        self._settings = settings
        self._raised = raised
        self._alarms = Alarms(alarm_table(settings))
        self._raised_ns: dict[str, int] = {}
        self._ventricular: deque[int] = deque(maxlen=BEATS_LIMIT)
        """Samples of probable ventricular beats of the last minute."""
        self._minute = recording.samples(60)
        self._run_length = recording.samples(RUN_DELAY_S + 2 * CHECK_INTERVAL_S)
        self._run_until = 0
        """A ventricular run counts for its alarm up to here, also if it ends earlier."""

    def beat(self, beat: KnownBeat) -> None:
        """Add a beat on good signal."""
        if beat.kind == "V" and beat.probability >= SURE_P:
            self._ventricular.append(beat.sample)

    def run_began(self, at: int) -> None:
        """A ventricular run is known at ``at``."""
        self._run_until = at + self._run_length

    def withhold(self, sample: int) -> None:
        """The signal is bad from ``sample`` on."""
        self._run_until = 0
        while self._ventricular and self._ventricular[-1] >= sample:
            self._ventricular.pop()

    def observe(self, now: int, classified: int) -> Iterator[Event]:
        """Events of alarms at ``now``; beats are classified up to ``classified``."""
        observed = observe(self._state(now, classified), self._settings, self._alarms.raised)
        yield from self._events(self._alarms.observe(now / self._recording.rate_hz, observed), now)

    def reset(self, at_s: float, at: int) -> Iterator[Event]:
        """End latched alarms."""
        yield from self._events(self._alarms.reset(at_s), at)

    def pause(self, at_s: float, seconds: float) -> None:
        """Suppress new alarms for a time (`Alarms.pause`)."""
        self._alarms.pause(at_s, seconds)

    def close(self, at_s: float, at: int) -> Iterator[Event]:
        """End all alarms."""
        yield from self._events(self._alarms.close(at_s), at)

    def take_over(self, earlier: AlarmWatch) -> None:
        """Continue the alarms of an earlier stream of the same patient."""
        self._alarms.take_over(earlier._alarms)
        self._raised_ns = dict(earlier._raised_ns)

    def _state(self, now: int, classified: int) -> PatientState:
        recording, episodes = self._recording, self._episodes
        usability, last = recording.usability, episodes.last_beat
        minute = max(0, classified - self._minute)
        while self._ventricular and self._ventricular[0] < minute:
            self._ventricular.popleft()
        quiet_since = usability.since if last is None else max(last, usability.since)
        off = not usability.now and all(NOT_CONNECTED.intersection(r) for r in recording.reasons)
        return PatientState(
            withheld=not usability.now,
            lead_off=off,
            silent_s=max(0, classified - quiet_since) / recording.rate_hz,
            heart_rate_bpm=episodes.heart_rate_bpm,
            episodes=episodes.going_on + (("VT",) if now <= self._run_until else ()),
            ventricular_beats=len(self._ventricular),
            good_share=usability.good_samples(minute, classified) / max(classified - minute, 1),
            beats_seen=episodes.beats_seen,
            rhythm_decided=episodes.rhythm_decided,
        )

    def _events(self, changes: Iterable[Change], at: int) -> Iterator[Event]:
        recording = self._recording
        for change in changes:
            name = change.condition.name
            if change.state == "raised":
                self._raised(at, name)
                raised_at = round(change.raised_s * recording.rate_hz)
                self._raised_ns[name] = recording.timeline.ns(raised_at)
            data = events.Alarm(
                alarm=name,
                priority=change.condition.priority,
                state=change.state,
                raised_ns=self._raised_ns.get(name, recording.timeline.ns(at)),
                delay_s=round(change.delay_s, 2),
                value=change.value,
                limit=change.limit,
                text=change.text,
                version=recording.version,
                virtual=recording.virtual,
            )
            yield recording.event(data, at)

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {
            "alarms": self._alarms.snapshot(),
            "raised_ns": dict(self._raised_ns),
            "ventricular": list(self._ventricular),
            "run_until": self._run_until,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of `snapshot`."""
        self._alarms.restore(state["alarms"])
        self._raised_ns = dict(state["raised_ns"])
        self._ventricular = deque(state["ventricular"], maxlen=BEATS_LIMIT)
        self._run_until = int(state["run_until"])
