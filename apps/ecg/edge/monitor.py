"""All that is said about one patient, from the signal of one recorder at one rate.

What is known comes from `tracker` in its order; between that, at every half second of signal, alarms are
looked at and `reports` tell what is due. Beats are judged `Tracker.delay_samples` after them at the latest;
silence counts only up to there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from apps.ecg.app import EcgSettings
from apps.ecg.edge.alarms import Alarms, Change
from apps.ecg.edge.conditions import RUN_DELAY_S, Standing, alarm_table, episode_limits, observe
from apps.ecg.edge.episodes import SURE_P, EpisodeChange, Episodes
from apps.ecg.edge.filters import Floats
from apps.ecg.edge.history import KnownAbsurd, KnownBeat, KnownQuality, KnownRhythm
from apps.ecg.edge.pacing import pacing_limit
from apps.ecg.edge.recording import PIECE_S, Recording, rounded
from apps.ecg.edge.reports import Reports
from apps.ecg.edge.tracker import MOST_MV, Tracker
from common.app.edge import Model, Sample
from common.errors import InferenceError
from common.messages import Event, Priority

TICK_S = 0.5
_EVER = 2**62
WITHHELD_S = 5.0
"""Bad signal for so long is told."""
NOT_CONNECTED = frozenset({"lead_off", "flat"})
"""Reasons of bad quality that mean that a lead is off."""


class Monitor:
    """One patient; see the module."""

    def __init__(
        self,
        subject: str,
        rate_hz: float,
        leads: Sequence[str],
        start_ns: int,
        settings: EcgSettings,
        model: Model,
    ) -> None:
        manifest = model.manifest
        self._settings = settings
        self.recording = Recording(subject, rate_hz, leads, start_ns, manifest.version)
        self._usability = self.recording.usability
        limits = episode_limits(settings, manifest.parameters)
        self._tracker = Tracker(rate_hz, leads, settings.leads, model, limits.af_off, self.recording.ring)
        self.recording.analysed = self._tracker.analysed
        self._episodes = Episodes(rate_hz, limits)
        self._episode_ns: dict[str, int] = {}
        self._alarms = Alarms(alarm_table(settings))
        self._reports = Reports(self.recording, settings.consent, self._tracker.spikes)
        self._ventricular: deque[int] = deque(maxlen=512)
        self._run_until = 0
        """A run of ventricular beats counts for its alarm up to here, also if it is over sooner."""
        self._tick = self.recording.samples(TICK_S)
        self._minute = self.recording.samples(60)
        self._ticks = 0
        self._withheld_told = False
        self._raised_ns: dict[str, int] = {}

    @property
    def end(self) -> int:
        """Number of samples taken in."""
        return self.recording.ring.end

    def begin(self, low_pass_hz: float | None, earlier: Monitor | None) -> Iterator[Event]:
        """What is known before the first sample: the leads that are used, and what cannot be seen.

        ``low_pass_hz`` is the upper edge of the recorder's filter, where it is known. Of an ``earlier``
        stream of the same patient alarms go on: that it broke off is no sign that the patient is well.
        """
        recording = self.recording
        if earlier is not None:
            self._alarms.take_over(earlier._alarms)
            self._raised_ns = dict(earlier._raised_ns)
        if len(recording.leads) > 1:
            lead = recording.leads[recording.analysed]
            others = ", ".join(each for each in recording.leads if each != lead)
            text = (
                f"beats, rhythm and heart rate are read from {lead}; of {others}: quality, averaged beats, "
                f"and the first good one stands in while {lead} is bad"
            )
            yield recording.finding("leads", lead, text, 0)
        limit = pacing_limit(recording.rate_hz, low_pass_hz)
        if limit is not None:
            yield recording.finding("pacing_unseen", None, limit, 0)

    def push(self, signal_mv: Floats) -> Iterator[Event | Sample | InferenceError]:
        """Take in the next samples, ``(n, leads)`` mV, NaN where missing; give what there is to say.

        If the model fails, its error is among what is given, and the signal goes on.
        """
        piece = self.recording.samples(PIECE_S)
        for begin in range(0, len(signal_mv), piece):
            part = signal_mv[begin : begin + piece]
            try:
                self._tracker.push(part)
            except InferenceError as error:
                yield error
            yield from self._go_on()

    def reset_alarms(self) -> Iterator[Event]:
        """Somebody has seen to the latched alarms."""
        yield from self._tell(self._alarms.reset(self._now_s), self.end)

    def pause_alarms(self, seconds: float) -> None:
        """Raise no alarms for a while."""
        self._alarms.pause(self._now_s, seconds)

    def finish(self) -> Iterator[Event | Sample | InferenceError]:
        """The last findings, as the signal ends here: its last beats and what is left of spans of time.

        Episodes end, alarms stay as they are: no signal is no sign that the patient is well. Nothing may be
        pushed after it.
        """
        try:
            self._tracker.finish()
        except InferenceError as error:
            yield error
        yield from self._take_in(_EVER)
        yield from self._look(self.end, self.end)
        judged = self._ticks * self._tick - self._tracker.delay_samples
        yield from self._reports.due(self.end, judged, self.end, self._episodes)
        yield from self._reports.finish(self.end, self._episodes)
        for change in self._episodes.close(self.end):
            yield self._episode(change, self.end)

    def close(self) -> Iterator[Event]:
        """End what goes on, alarms too: the patient is gone."""
        for change in self._episodes.close(self.end):
            yield self._episode(change, self.end)
        yield from self._tell(self._alarms.close(self._now_s), self.end)

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {
            "recording": self.recording.snapshot(),
            "tracker": self._tracker.snapshot(),
            "episodes": self._episodes.snapshot(),
            "episode_ns": dict(self._episode_ns),
            "alarms": self._alarms.snapshot(),
            "reports": self._reports.snapshot(),
            "ventricular": list(self._ventricular),
            "run_until": self._run_until,
            "ticks": self._ticks,
            "withheld_told": self._withheld_told,
            "raised_ns": dict(self._raised_ns),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave for the same rate and leads."""
        self.recording.restore(state["recording"])
        self._tracker.restore(state["tracker"])
        self._episodes.restore(state["episodes"])
        self._episode_ns = dict(state["episode_ns"])
        self._alarms.restore(state["alarms"])
        self._reports.restore(state["reports"])
        self._ventricular = deque(state["ventricular"], maxlen=512)
        self._run_until = int(state["run_until"])
        self._ticks = int(state["ticks"])
        self._withheld_told = bool(state["withheld_told"])
        self._raised_ns = dict(state.get("raised_ns", {}))

    # ------------------------------------------------------------------------------ what becomes known

    @property
    def _now_s(self) -> float:
        return self._ticks * self._tick / self.recording.rate_hz

    def _go_on(self) -> Iterator[Event | Sample]:
        while (self._ticks + 1) * self._tick <= self.end:
            now = (self._ticks + 1) * self._tick
            yield from self._take_in(now)
            self._ticks += 1
            judged = now - self._tracker.delay_samples
            yield from self._look(now, judged)
            yield from self._reports.due(now, judged - self._tick, judged, self._episodes)
        yield from self._take_in(self.end)

    def _take_in(self, before: int) -> Iterator[Event]:
        for at, what in self._tracker.known(before):
            if isinstance(what, KnownBeat):
                yield from self._beat(what, at)
            elif isinstance(what, KnownQuality):
                yield from self._quality(what, at)
            elif isinstance(what, KnownAbsurd):
                lead = self.recording.leads[what.lead]
                text = f"{lead} has values above {MOST_MV:g} mV: it is taken as missing (is its gain right?)"
                yield self.recording.finding("gain_absurd", lead, text, at)
            elif self._usability.now:
                yield from self._rhythm(what, at)

    def _beat(self, beat: KnownBeat, at: int) -> Iterator[Event]:
        self.recording.history.add(beat)
        if beat.good and self._usability.now:
            if beat.kind == "V" and beat.probability >= SURE_P:
                self._ventricular.append(beat.sample)
            for change in self._episodes.beat(beat.sample, beat.kind, beat.probability):
                if change.label == "VT" and change.ended is None:
                    self._run_until = at + self.recording.samples(RUN_DELAY_S + 2 * TICK_S)
                yield self._episode(change, at)

    def _rhythm(self, rhythm: KnownRhythm, at: int) -> Iterator[Event]:
        self._reports.rhythm(rhythm.sample, rhythm.probability)
        for change in self._episodes.rhythm(rhythm.began, rhythm.sample, rhythm.probability):
            yield self._episode(change, at)

    def _quality(self, change: KnownQuality, at: int) -> Iterator[Event]:
        recording = self.recording
        recording.analysed = change.analysed
        recording.reasons[change.lead] = change.reasons
        data = {"lead": recording.leads[change.lead], "good": change.good, "reasons": list(change.reasons)}
        yield recording.event("quality", at, Priority.EVENT, data)
        if change.usable == self._usability.now:
            return
        self._usability.change(change.sample, change.usable)
        self._withheld_told = False
        if not change.usable:
            self._run_until = 0
            while self._ventricular and self._ventricular[-1] >= change.sample:
                self._ventricular.pop()
            for ended in self._episodes.withhold(change.sample):
                yield self._episode(ended, at)

    def _episode(self, change: EpisodeChange, at: int) -> Event:
        timeline = self.recording.timeline
        began_ns = self._episode_ns.setdefault(change.label, timeline.ns(change.began))
        ended_ns = None
        if change.ended is not None:
            ended_ns = max(began_ns, timeline.ns(change.ended))
            del self._episode_ns[change.label]
        data = {
            "episode": f"{change.label}-{began_ns}",
            "label": change.label,
            "state": "began" if ended_ns is None else "ended",
            "began_ns": began_ns,
            "ended_ns": ended_ns,
            "beats": change.beats,
            "heart_rate_bpm": rounded(change.heart_rate_bpm, 1),
        }
        return self.recording.event("rhythm", at, Priority.EVENT, data)

    # -------------------------------------------------------------------------------- each half second

    def _look(self, now: int, judged: int) -> Iterator[Event]:
        recording, usability = self.recording, self._usability
        if usability.now:
            for change in self._episodes.wait(judged):
                yield self._episode(change, now)
        elif not self._withheld_told and now - usability.since >= recording.samples(WITHHELD_S):
            self._withheld_told = True
            reasons = ", ".join(recording.reasons[recording.analysed]) or "unknown"
            text = f"no lead can be judged ({reasons}): nothing is said about beats and rhythm until one can"
            yield recording.finding("withheld", recording.leads[recording.analysed], text, now)
        observed = observe(self._standing(now, judged), self._settings, self._alarms.raised)
        yield from self._tell(self._alarms.observe(now / recording.rate_hz, observed), now)

    def _standing(self, now: int, judged: int) -> Standing:
        usability, last = self._usability, self._episodes.last_beat
        minute = max(0, judged - self._minute)
        while self._ventricular and self._ventricular[0] < minute:
            self._ventricular.popleft()
        quiet_since = usability.since if last is None else max(last, usability.since)
        off = not usability.now and all(NOT_CONNECTED.intersection(r) for r in self.recording.reasons)
        return Standing(
            withheld=not usability.now,
            lead_off=off,
            silent_s=max(0, judged - quiet_since) / self.recording.rate_hz,
            heart_rate_bpm=self._episodes.heart_rate_bpm,
            episodes=self._episodes.going_on + (("VT",) if now <= self._run_until else ()),
            ventricular_beats=len(self._ventricular),
            good_share=usability.good_samples(minute, judged) / max(judged - minute, 1),
            beats_seen=self._episodes.beats_seen,
            rhythm_decided=self._episodes.rhythm_decided,
        )

    def _tell(self, changes: Iterable[Change], at: int) -> Iterator[Event]:
        for change in changes:
            name = change.condition.name
            if change.state == "raised":
                self._reports.alarm(at, name)
                raised_at = round(change.raised_s * self.recording.rate_hz)
                self._raised_ns[name] = self.recording.timeline.ns(raised_at)
            data = {
                "alarm": name,
                "priority": change.condition.priority,
                "state": change.state,
                "raised_ns": self._raised_ns.get(name, self.recording.timeline.ns(at)),
                "delay_s": round(change.delay_s, 2),
                "value": change.value,
                "limit": change.limit,
                "text": change.text,
            }
            yield self.recording.event("alarm", at, Priority.ALARM, data)
