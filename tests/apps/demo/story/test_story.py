"""A story runs in order, and ends at the first failed step."""

from __future__ import annotations

from apps.demo.story.story import Chapter, PlainNarrator, Step, run_story
from apps.demo.world.processes import ShowError


def fails() -> str:
    raise ShowError("no drift was found within 5 s")


def test_every_step_is_printed_with_its_evidence():
    lines: list[str] = []
    chapter = Chapter("Start", "A cloud starts.", [Step("it answers", lambda: "200 OK\nand more")])
    outcome = run_story([chapter], PlainNarrator(lines.append))
    assert (outcome.steps, outcome.passed, outcome.failure) == (1, 1, "")
    text = "\n".join(lines)
    assert "== 1. Start" in text
    assert "it answers" in text
    assert "200 OK" in text
    assert "and more" in text


def test_a_failed_step_ends_the_story():
    later: list[str] = []
    chapter = Chapter("Drift", "", [Step("drift", fails), Step("later", lambda: later.append("x") or "x")])
    lines: list[str] = []
    outcome = run_story([chapter], PlainNarrator(lines.append))
    assert (outcome.steps, outcome.passed) == (2, 0)
    assert outcome.failure == "drift: no drift was found within 5 s"
    assert "FAILED" in lines[-1]
    assert not later
