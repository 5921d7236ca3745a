from __future__ import annotations

from typing import Any

import pytest

from cloud_backend.dashboard.parts.node_commands import PATIENCE_S, Look, answer

SECOND = 1_000_000_000
ASKED = 100 * SECOND


def event(kind: str, received_ns: int, **data: Any) -> dict[str, Any]:
    return {"type": f"edgeloop.{kind}", "received_ns": received_ns, "data": data}


def adoption(step: str, received_ns: int = ASKED + 1, **more: Any) -> dict[str, Any]:
    return event("adoption", received_ns, step=step, version="2", **({"ok": True} | more))


def test_golden_cases_are_answered_by_their_event() -> None:
    passed = event("golden", ASKED + 1, passed=True, version="2", cases=24, latency_ms=0.1)
    found = answer("golden", ASKED, ASKED + SECOND, [adoption("shadow"), passed])
    assert (found.word, found.tone) == ("passed", "good")
    failed = event("golden", ASKED + 1, passed=False, version="2", detail="off")
    assert answer("golden", ASKED, ASKED + SECOND, [failed]).word == "failed"


def test_an_answer_from_before_the_command_is_none() -> None:
    old = event("golden", ASKED - 1, passed=True, version="2")
    assert answer("golden", ASKED, ASKED + SECOND, [old]).word == "asked"


def test_looking_for_updates_shows_the_newest_step() -> None:
    steps = [adoption("shadow"), adoption("golden"), adoption("offered")]
    assert answer("deployment", ASKED, ASKED + SECOND, steps).word == "shadow"
    refused = adoption("refused", ok=False, reason="golden")
    assert answer("deployment", ASKED, ASKED + SECOND, [refused]).tone == "warn"


def test_a_reversal_is_answered_by_the_reversal_alone() -> None:
    assert answer("revert", ASKED, ASKED + SECOND, [adoption("offered")]).word == "asked"
    assert answer("revert", ASKED, ASKED + SECOND, [adoption("reverted", ok=False)]).word == "reverted"
    nothing_before = adoption("refused", ok=False, reason="operator")
    assert answer("revert", ASKED, ASKED + SECOND, [nothing_before]).tone == "warn"


@pytest.mark.parametrize(
    ("look", "word"), [("deployment", "nothing new"), ("golden", "no answer"), ("revert", "no answer")]
)
def test_silence_is_told_after_a_while(look: Look, word: str) -> None:
    assert answer(look, ASKED, ASKED + PATIENCE_S * SECOND, []).word == word


def test_data_of_any_kind_is_no_answer() -> None:
    odd = [{"type": "edgeloop.golden", "received_ns": ASKED + 1, "data": data} for data in (None, [], "x")]
    assert answer("golden", ASKED, ASKED + SECOND, odd).word == "asked"
