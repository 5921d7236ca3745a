"""An outbox within its budget: what is given up becomes a gap."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import OutboxFull
from common.messages import GAP_TYPE, Gap, Priority
from tests.builders import make_event
from tests.common.edge.delivery.rows import all_of, covered, gaps

SMALL = 64 * 1024


def test_the_budget_gives_up_the_lowest_priority_oldest_first_and_reports_it(open_outbox) -> None:
    outbox = open_outbox(SMALL)
    text = {"text": "x" * 1000}
    for number in range(160):
        outbox.commit([make_event(number, priority=Priority(number % 4), data=text)])
        assert outbox.size_bytes <= SMALL
    assert covered(outbox) == list(range(1, 161))
    kept = [event for event in all_of(outbox) if event.type != GAP_TYPE]
    names = [event.priority for event in kept]
    assert names.count("alarm") == 40
    assert all(event.seq > 148 for event in kept if event.priority in ("sample", "telemetry"))
    survivors = [event.seq for event in kept if event.priority == "event"]
    assert survivors == list(range(160 - 4 * len(survivors) + 3, 161, 4))
    counts: dict[str, int] = {}
    for _, gap in gaps(outbox):
        for name, count in gap.counts.items():
            counts[name] = counts.get(name, 0) + count
    assert counts == outbox.dropped
    assert sum(counts.values()) + len(kept) == 160


def test_neighbouring_gaps_are_one(open_outbox) -> None:
    outbox = open_outbox(SMALL)
    for number in range(2000):
        outbox.commit([make_event(number, data={"text": "x" * 300})])
    assert len(gaps(outbox)) == 1
    (first, gap) = gaps(outbox)[0]
    assert first == 1
    assert gap.counts == {"telemetry": gap.through}
    assert covered(outbox) == list(range(1, 2001))


def test_alarms_alone_fill_the_outbox_and_nothing_of_the_call_is_kept(open_outbox) -> None:
    outbox = open_outbox(SMALL)
    alarm = make_event(priority=Priority.ALARM, data={"text": "x" * 1000})

    def fill() -> None:
        for number in range(100):
            outbox.commit([make_event(number), alarm], b"s", number)

    with pytest.raises(OutboxFull, match="alarms that the cloud has not taken"):
        fill()
    last, position, events = outbox.last_seq, outbox.position(), outbox.events
    with pytest.raises(OutboxFull):
        outbox.commit([make_event(), alarm], b"t", 1000)
    assert (outbox.last_seq, outbox.position(), outbox.events) == (last, position, events)
    assert sum(event.priority == "alarm" for event in all_of(outbox)) == last // 2
    outbox.commit([make_event(data={"text": "x" * 2000})] * 30)
    assert gaps(outbox)[-1][1].through >= last + 28, "what is not an alarm becomes a gap"
    assert covered(outbox) == list(range(1, last + 31))
    outbox.acked(20)
    outbox.commit([alarm])
    assert all_of(outbox)[-1].priority == "alarm"


def test_an_ack_within_a_gap_leaves_the_rest_of_it(open_outbox) -> None:
    outbox = open_outbox(SMALL)
    for number in range(400):
        outbox.commit([make_event(number, data={"text": "x" * 300})])
    through = gaps(outbox)[0][1].through
    outbox.acked(10)
    assert outbox.oldest() == 11
    assert gaps(outbox)[0] == (11, Gap(through, "budget", {"telemetry": through - 10}))
    assert outbox.pending(20, 1, 10**6)[0].seq == 21, "the window may stand within it as well"
    assert covered(outbox) == list(range(11, 401))
    outbox.acked(through)
    assert outbox.oldest() == through + 1


def test_a_refused_event_becomes_a_gap_once(open_outbox) -> None:
    outbox = open_outbox()
    outbox.commit([make_event(n, priority=Priority.ALARM) for n in range(3)])
    assert outbox.refused(2)
    assert not outbox.refused(2)
    assert not outbox.refused(99)
    assert gaps(outbox) == [(2, Gap(2, "refused", {"alarm": 1}))]
    assert outbox.dropped == {"alarm": 1}


def test_the_file_stays_near_its_budget_however_long_the_cloud_is_gone(open_outbox, tmp_path: Path) -> None:
    budget = 1024 * 1024
    outbox = open_outbox(budget)
    for number in range(60):
        outbox.commit([make_event(number, data={"t": "x" * 300}) for _ in range(200)])
    assert outbox.size_bytes <= budget
    outbox.close()
    assert (tmp_path / "outbox.sqlite").stat().st_size < 1.5 * budget


def test_an_event_evicted_by_its_own_commit_is_sent_as_a_gap(open_outbox) -> None:
    outbox = open_outbox(SMALL)
    text = {"text": "x" * 1000}
    outbox.commit([make_event(n, priority=Priority.TELEMETRY, data=text) for n in range(160)])
    assert covered(outbox) == list(range(1, 161))
    (seq, gap), *_ = gaps(outbox)
    assert (seq, gap.counts["telemetry"]) == (1, outbox.dropped["telemetry"])
