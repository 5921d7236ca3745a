"""The live view shows what is in the snapshot, at the width of a common terminal."""

from __future__ import annotations

import io

from rich.console import Console

from apps.demo.story.engines.snapshot_view import remaining_life
from apps.demo.story.patients.snapshot_view import view_patients
from apps.demo.story.story import Chapter, Step
from apps.demo.story.terminal_view import LiveNarrator, sparkline
from apps.demo.world.snapshot import NodeSnapshot, Snapshot, SubjectView

SNAPSHOT = Snapshot(
    nodes=(
        NodeSnapshot(
            "engine-1",
            state="online",
            version="starter-1",
            subject=SubjectView(
                remaining_life({"lower_cycles": 40, "rul_cycles": 60, "upper_cycles": 85}),
                "run 2 cycle 77",
                "MAINTENANCE",
            ),
            history=tuple(share / 125 for share in range(125, 60, -2)),
            drift=True,
        ),
        NodeSnapshot("engine-2", cut=True, waiting=44),
    ),
    job="running: fold 2",
    job_progress=0.4,
    rollout="v2: running, wave 1 of 2",
    bytes_sent=40_000,
    bytes_raw=900_000,
    events=12_345,
)


def drawn(width: int) -> str:
    output = io.StringIO()
    console = Console(width=width, height=34, file=output)
    narrator = LiveNarrator(console, lambda: SNAPSHOT, subject_kind="virtual engines", steps=30)
    narrator.chapter(1, Chapter("Start", "A cloud and three nodes.", []))
    narrator.step(1, Step("the cloud starts", lambda: "", ("sense", "infer")))
    narrator.passed("it answers", 1.2)
    console.print(narrator.draw())
    return output.getvalue()


def test_the_screen_shows_the_world_and_marks_it_as_virtual():
    text = drawn(130)
    for part in (
        "three VIRTUAL engines",
        "60 cycles left (40 to 85)",
        "CUT, 44 queued",
        "MAINTENANCE DRIFT",
        "run 2 cycle 77",
        "running: fold 2",
        "wave 1 of 2",
        "12,345 events",
        "it answers",
    ):
        assert part in text, part


def test_it_fits_a_narrow_terminal():
    assert max(len(line) for line in drawn(80).splitlines()) <= 80


def test_a_sparkline_goes_from_low_to_high():
    assert sparkline((0.0, 0.4, 1.0)) == "▁▄█"


def test_a_patient_is_shown_by_rhythm_and_rate():
    patient = {"node": "bed-1", "patient": "p-abc", "rhythm": "AF", "last_ns": 7}
    patient |= {"heart_rate_bpm": 90.0, "open_alarms": 1}
    silent = {**patient, "node": "bed-2", "heart_rate_bpm": None, "open_alarms": 0}
    subjects = view_patients(lambda path, **query: {"items": [patient, silent]}, "ecg")
    assert "AF" in subjects["bed-1"].line
    assert "90 beats per minute" in subjects["bed-1"].line
    assert (subjects["bed-1"].alarm, subjects["bed-1"].point) == ("ALARM", 0.5)
    assert (subjects["bed-2"].alarm, subjects["bed-2"].point) == ("", 0.0)
