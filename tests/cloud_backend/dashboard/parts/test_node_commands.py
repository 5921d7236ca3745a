from __future__ import annotations

from typing import Any

import pytest

from cloud_backend.dashboard.parts.node_commands import ANSWER_TIMEOUT_S, Command, outcome

SECOND = 1_000_000_000
SENT = 100 * SECOND


def event(kind: str, received_ns: int, **data: Any) -> dict[str, Any]:
    return {"type": f"edgeloop.{kind}", "received_ns": received_ns, "data": data}


def adoption(step: str, received_ns: int = SENT + 1, **more: Any) -> dict[str, Any]:
    return event("adoption", received_ns, step=step, version="2", **({"ok": True} | more))


def test_golden_cases_are_answered_by_their_event() -> None:
    passed = event("golden", SENT + 1, passed=True, version="2", cases=24, latency_ms=0.1)
    found = outcome("golden", SENT, SENT + SECOND, [adoption("shadow"), passed])
    assert (found.badge, found.tone) == ("passed", "good")
    failed = event("golden", SENT + 1, passed=False, version="2", detail="off")
    assert outcome("golden", SENT, SENT + SECOND, [failed]).badge == "failed"


def test_an_event_from_before_the_command_is_no_answer() -> None:
    old = event("golden", SENT - 1, passed=True, version="2")
    assert outcome("golden", SENT, SENT + SECOND, [old]).badge == "sent"


def test_a_check_for_updates_shows_the_newest_step() -> None:
    steps = [adoption("shadow"), adoption("golden"), adoption("offered")]
    assert outcome("deployment", SENT, SENT + SECOND, steps).badge == "shadow"
    refused = adoption("refused", ok=False, reason="golden")
    assert outcome("deployment", SENT, SENT + SECOND, [refused]).tone == "warn"


def test_a_reversal_is_answered_by_the_reversal_alone() -> None:
    assert outcome("revert", SENT, SENT + SECOND, [adoption("offered")]).badge == "sent"
    assert outcome("revert", SENT, SENT + SECOND, [adoption("reverted", ok=False)]).badge == "reverted"
    nothing_before = adoption("refused", ok=False, reason="operator")
    assert outcome("revert", SENT, SENT + SECOND, [nothing_before]).tone == "warn"


@pytest.mark.parametrize(
    ("command", "badge"), [("deployment", "nothing new"), ("golden", "no answer"), ("revert", "no answer")]
)
def test_silence_is_shown_after_a_timeout(command: Command, badge: str) -> None:
    assert outcome(command, SENT, SENT + ANSWER_TIMEOUT_S * SECOND, []).badge == badge


def test_malformed_data_is_no_answer() -> None:
    odd = [{"type": "edgeloop.golden", "received_ns": SENT + 1, "data": data} for data in (None, [], "x")]
    assert outcome("golden", SENT, SENT + SECOND, odd).badge == "sent"
