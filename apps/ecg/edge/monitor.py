"""Findings, reports and alarms of one patient, from the signal of one recorder at one rate.

Findings come from `tracker` in the order in which they become known. In between, at every half second of
signal (tick), alarms are observed and due `reports` are made. Beats are classified `Tracker.delay_samples`
after them at the latest; silence counts up to there only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from apps.ecg import events
from apps.ecg.app import EcgSettings
from apps.ecg.edge.absurd_values import MAX_MV
from apps.ecg.edge.alarm_watch import CHECK_INTERVAL_S, AlarmWatch
from apps.ecg.edge.conditions import episode_limits
from apps.ecg.edge.episode_log import EpisodeLog
from apps.ecg.edge.episodes import Episodes
from apps.ecg.edge.filters import Floats
from apps.ecg.edge.history import KnownAbsurd, KnownBeat, KnownQuality, KnownRhythm
from apps.ecg.edge.pacing import pacing_limit
from apps.ecg.edge.recording import PIECE_S, Recording
from apps.ecg.edge.reports.schedule import Reports
from apps.ecg.edge.tracker import Tracker
from common.app.edge import Model, Sample
from common.errors import InferenceError
from common.messages import Event

WITHHELD_S = 5.0
"""Duration of bad signal after which a finding reports it."""
_FOREVER = 2**62


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
        self.recording = Recording(subject, rate_hz, leads, start_ns, manifest.version)
        self._usability = self.recording.usability
        limits = episode_limits(settings, manifest.parameters)
        self._tracker = Tracker(rate_hz, leads, settings.leads, model, limits.af_off, self.recording.ring)
        self.recording.analysed = self._tracker.analysed
        self._episodes = Episodes(rate_hz, limits)
        self._episode_log = EpisodeLog(self.recording)
        self._reports = Reports(self.recording, settings.consent, self._tracker.spikes)
        self._tick = self.recording.samples(CHECK_INTERVAL_S)
        self._ticks = 0
        self._alarms = AlarmWatch(self.recording, self._episodes, settings, self._reports.alarm)
        self._withheld_reported = False

    @property
    def end(self) -> int:
        """Number of samples processed."""
        return self.recording.ring.end

    def begin(self, low_pass_hz: float | None, earlier: Monitor | None) -> Iterator[Event]:
        """Findings before the first sample: the leads in use, and limits of detection.

        ``low_pass_hz`` is the upper edge of the recorder's filter, None if unknown. Alarms of an ``earlier``
        stream of the same patient continue: the end of a stream is no evidence of recovery.
        """
        recording = self.recording
        if earlier is not None:
            self._alarms.take_over(earlier._alarms)
        if len(recording.leads) > 1:
            lead = recording.leads[recording.analysed]
            others = ", ".join(each for each in recording.leads if each != lead)
            text = (
                f"beats, rhythm and heart rate are from {lead}; from {others}: quality and averaged beats; "
                f"the first good one replaces {lead} while it is bad"
            )
            yield recording.finding("leads", lead, text, 0)
        limit = pacing_limit(recording.rate_hz, low_pass_hz)
        if limit is not None:
            yield recording.finding("pacing_unseen", None, limit, 0)

    def push(self, signal_mv: Floats) -> Iterator[Event | Sample | InferenceError]:
        """Process the next samples, ``(n, leads)`` mV, NaN where missing; yields the results.

        If the model fails, its error is one of them, and the stream continues.
        """
        piece = self.recording.samples(PIECE_S)
        for begin in range(0, len(signal_mv), piece):
            part = signal_mv[begin : begin + piece]
            try:
                self._tracker.push(part)
            except InferenceError as error:
                yield error
            yield from self._advance()

    def reset_alarms(self) -> Iterator[Event]:
        """End latched alarms, on request at the device."""
        yield from self._alarms.reset(self._now_s, self.end)

    def pause_alarms(self, seconds: float) -> None:
        """Suppress new alarms for a time."""
        self._alarms.pause(self._now_s, seconds)

    def finish(self) -> Iterator[Event | Sample | InferenceError]:
        """The last findings and reports, at the end of the signal. Nothing may be pushed after it.

        Episodes end, alarms persist: the end of the signal is no evidence of recovery.
        """
        try:
            self._tracker.finish()
        except InferenceError as error:
            yield error
        yield from self._apply_known(_FOREVER)
        yield from self._observe(self.end, self.end)
        classified = self._ticks * self._tick - self._tracker.delay_samples
        yield from self._reports.due(self.end, classified, self.end, self._episodes)
        yield from self._reports.finish(self.end, self._episodes)
        for change in self._episodes.close(self.end):
            yield self._episode_log.event(change, self.end)

    def close(self) -> Iterator[Event]:
        """End all episodes and alarms, at the end of the patient's monitoring."""
        for change in self._episodes.close(self.end):
            yield self._episode_log.event(change, self.end)
        yield from self._alarms.close(self._now_s, self.end)

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {
            "recording": self.recording.snapshot(),
            "tracker": self._tracker.snapshot(),
            "episodes": self._episodes.snapshot(),
            "episode_log": self._episode_log.snapshot(),
            "alarms": self._alarms.snapshot(),
            "reports": self._reports.snapshot(),
            "ticks": self._ticks,
            "withheld_reported": self._withheld_reported,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of `snapshot` for the same rate and leads."""
        self.recording.restore(state["recording"])
        self._tracker.restore(state["tracker"])
        self._episodes.restore(state["episodes"])
        self._episode_log.restore(state["episode_log"])
        self._alarms.restore(state["alarms"])
        self._reports.restore(state["reports"])
        self._ticks = int(state["ticks"])
        self._withheld_reported = bool(state["withheld_reported"])

    # ---------------------------------------------------------------------------------------- findings

    @property
    def _now_s(self) -> float:
        return self._ticks * self._tick / self.recording.rate_hz

    def _advance(self) -> Iterator[Event | Sample]:
        """Apply findings and make the ticks up to the end of the signal so far."""
        while (self._ticks + 1) * self._tick <= self.end:
            now = (self._ticks + 1) * self._tick
            yield from self._apply_known(now)
            self._ticks += 1
            classified = now - self._tracker.delay_samples
            yield from self._observe(now, classified)
            yield from self._reports.due(now, classified - self._tick, classified, self._episodes)
        yield from self._apply_known(self.end)

    def _apply_known(self, before: int) -> Iterator[Event]:
        for at, finding in self._tracker.known(before):
            if isinstance(finding, KnownBeat):
                yield from self._beat(finding, at)
            elif isinstance(finding, KnownQuality):
                yield from self._quality(finding, at)
            elif isinstance(finding, KnownAbsurd):
                lead = self.recording.leads[finding.lead]
                text = f"values of {lead} above {MAX_MV:g} mV, treated as missing: check its gain"
                yield self.recording.finding("gain_absurd", lead, text, at)
            elif self._usability.now:
                yield from self._rhythm(finding, at)

    def _beat(self, beat: KnownBeat, at: int) -> Iterator[Event]:
        self.recording.history.add(beat)
        if beat.good and self._usability.now:
            self._alarms.beat(beat)
            for change in self._episodes.beat(beat.sample, beat.kind, beat.probability):
                if change.label == "VT" and change.ended is None:
                    self._alarms.run_began(at)
                yield self._episode_log.event(change, at)

    def _rhythm(self, rhythm: KnownRhythm, at: int) -> Iterator[Event]:
        self._reports.rhythm(rhythm.sample, rhythm.probability)
        for change in self._episodes.rhythm(rhythm.began, rhythm.sample, rhythm.probability):
            yield self._episode_log.event(change, at)

    def _quality(self, change: KnownQuality, at: int) -> Iterator[Event]:
        recording = self.recording
        recording.analysed = change.analysed
        recording.reasons[change.lead] = change.reasons
        data = events.Quality(
            lead=recording.leads[change.lead],
            good=change.good,
            reasons=list(change.reasons),
            version=recording.version,
            virtual=recording.virtual,
        )
        yield recording.event(data, at)
        if change.usable == self._usability.now:
            return
        self._usability.change(change.sample, change.usable)
        self._withheld_reported = False
        if not change.usable:
            self._alarms.withhold(change.sample)
            for ended in self._episodes.withhold(change.sample):
                yield self._episode_log.event(ended, at)

    def _observe(self, now: int, classified: int) -> Iterator[Event]:
        """Pauses, the finding of withheld signal, and alarms at ``now``."""
        recording, usability = self.recording, self._usability
        if usability.now:
            for change in self._episodes.wait(classified):
                yield self._episode_log.event(change, now)
        elif not self._withheld_reported and now - usability.since >= recording.samples(WITHHELD_S):
            self._withheld_reported = True
            reasons = ", ".join(recording.reasons[recording.analysed]) or "unknown"
            text = f"no lead of sufficient quality ({reasons}): beats and rhythm are withheld"
            yield recording.finding("withheld", recording.leads[recording.analysed], text, now)
        yield from self._alarms.observe(now, classified)
