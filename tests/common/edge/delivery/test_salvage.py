"""Whatever can be read of a damaged outbox survives, and what cannot is counted."""

from __future__ import annotations

import os
import random
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.edge.delivery.outbox import Outbox
from common.edge.delivery.outbox_file import PAGE_BYTES
from common.errors import MessageError, OutboxError
from common.messages import GAP_TYPE, Gap, WireEvent, decode_event
from tests.builders import FIRST_NS, make_event

EVENTS = 262
COMMIT = 20


def noise(count: int) -> bytes:
    """Random bytes, the same in every run."""
    return random.Random(count).randbytes(count)


def open_outbox(path: Path, source: str = "/s/n") -> Outbox:
    return Outbox(path, source, 10**8, lambda: FIRST_NS, stream="csv:a")


def fill(folder: Path, *, acked: int = 0, closed: bool = True) -> str:
    """An outbox with `EVENTS` events, state, journal and position. Returns its epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    live = folder / "live" / "outbox.sqlite"
    outbox = open_outbox(live)
    outbox.commit([], b"state", 0)
    for first in range(1, EVENTS + 1, COMMIT):
        numbers = range(first, min(first + COMMIT, EVENTS + 1))
        events = [make_event(n, data={"n": n, "text": "x" * (40 + n % 300)}) for n in numbers]
        outbox.commit(events, None, first, journal=b"journal %d" % first)
        if acked and first == 101:
            outbox.acked(acked)
    if closed:
        outbox.close()
    for file in live.parent.iterdir():  # As a crash leaves it: the log is not folded in.
        if not file.name.endswith("-shm"):
            shutil.copy(file, folder / file.name)
    epoch = outbox.epoch
    outbox.close()
    return epoch


def rows(outbox: Outbox) -> list[WireEvent]:
    return [decode_event(row.body) for row in outbox.pending(0, 10**6, 10**9)]


def numbers(events: list[WireEvent]) -> list[int]:
    """A field of the salvaged events that is independent of their seq."""
    return [msgspec.json.decode(event.data)["n"] for event in events if event.type != GAP_TYPE]


def lost(events: list[WireEvent]) -> int:
    return sum(gap.through - seq + 1 for seq, gap in gaps(events))


def gaps(events: list[WireEvent]) -> list[tuple[int, Gap]]:
    return [(e.seq, msgspec.json.decode(e.data, type=Gap)) for e in events if e.type == GAP_TYPE]


def readable(body: bytes) -> WireEvent | None:
    """The event; None where damage within it is for the cloud to refuse."""
    try:
        event = decode_event(body)
        return event if event.type == GAP_TYPE or msgspec.json.decode(event.data)["n"] >= 0 else None
    except (MessageError, msgspec.MsgspecError, KeyError, TypeError):
        return None


def no_holes(events: list[WireEvent], first: int = 1) -> bool:
    expected = first
    for event in events:
        if event.seq != expected:
            return False
        gap = event.type == GAP_TYPE
        expected = (msgspec.json.decode(event.data, type=Gap).through if gap else event.seq) + 1
    return True


def damage(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def readable_in(path: Path) -> set[int]:
    """Events whose whole body still stands in the files, however they are found."""
    text = b"".join(p.read_bytes() for p in (path, path.with_name(f"{path.name}-wal")) if p.exists())
    return {n for n in range(1, EVENTS + 1) if b'"n":%d,"text":"%s"' % (n, b"x" * (40 + n % 300)) in text}


def test_an_undamaged_file_is_not_touched(tmp_path: Path) -> None:
    epoch = fill(tmp_path, closed=False)
    with closing(open_outbox(tmp_path / "outbox.sqlite")) as outbox:
        assert (outbox.epoch, outbox.recovery) == (epoch, None)
        assert numbers(rows(outbox)) == list(range(1, EVENTS + 1))
        assert (outbox.saved_state(), outbox.position()) == (b"state", 261)
        assert len(outbox.journal()) == 14


@pytest.mark.parametrize("fill_byte", [b"\0", b"\xff"])
def test_a_page_of_events_costs_the_events_of_that_page_only(tmp_path: Path, fill_byte: bytes) -> None:
    epoch = fill(tmp_path)
    path = tmp_path / "outbox.sqlite"
    pages = path.stat().st_size // PAGE_BYTES
    damage(path, (pages // 2) * PAGE_BYTES, fill_byte * PAGE_BYTES)
    with closing(open_outbox(path)) as outbox:
        events = rows(outbox)
        assert outbox.epoch == epoch, "it is certain which seqs there were"
        assert no_holes(events)
        assert numbers(events) == sorted(numbers(events))
        assert outbox.recovery is not None
        assert set(numbers(events)) >= readable_in(path.parent / Path(outbox.recovery.moved_to).name)
        assert 0 < lost(events) <= 12
        assert len(numbers(events)) + lost(events) == EVENTS
        assert outbox.recovery is not None
        assert (outbox.recovery.kept, outbox.recovery.lost) == (EVENTS - lost(events), lost(events))
        assert outbox.dropped == {"unknown": lost(events)}
        assert (outbox.saved_state(), outbox.position(), len(outbox.journal())) == (b"state", 261, 14)
        assert outbox.commit([make_event()]) == EVENTS + 1
    with closing(open_outbox(path)) as again:
        assert (again.recovery, again.last_seq, again.epoch) == (None, EVENTS + 1, epoch)


def test_damage_above_the_events_costs_none_of_them(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / "outbox.sqlite"
    damage(path, PAGE_BYTES, noise(PAGE_BYTES))  # Page 2: the root of the table of events.
    with closing(open_outbox(path)) as outbox:
        assert outbox.recovery
        assert numbers(rows(outbox)) == list(range(1, EVENTS + 1))


@pytest.mark.parametrize(
    "header", [noise(100), b"\0" * 100, b"\0" * PAGE_BYTES], ids=["noise", "zeros", "page of zeros"]
)
def test_a_damaged_header_costs_nothing(tmp_path: Path, header: bytes) -> None:
    epoch = fill(tmp_path)
    damage(tmp_path / "outbox.sqlite", 0, header)
    with closing(open_outbox(tmp_path / "outbox.sqlite")) as outbox:
        assert (outbox.epoch, bool(outbox.recovery)) == (epoch, True)
        assert numbers(rows(outbox)) == list(range(1, EVENTS + 1))
        assert (outbox.saved_state(), outbox.position(), len(outbox.journal())) == (b"state", 261, 14)


def test_a_damaged_format_number_is_damage(tmp_path: Path) -> None:
    fill(tmp_path)
    damage(tmp_path / "outbox.sqlite", 44, b"\xff" * 4)
    with closing(open_outbox(tmp_path / "outbox.sqlite")) as outbox:
        assert outbox.recovery
        assert numbers(rows(outbox)) == list(range(1, EVENTS + 1))


def test_a_file_cut_short_keeps_what_is_left(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / "outbox.sqlite"
    os.truncate(path, path.stat().st_size // 2 + 100)
    left = readable_in(path)
    with closing(open_outbox(path)) as outbox:
        events = rows(outbox)
        assert set(numbers(events)) >= left
        assert 0 < len(left) < EVENTS
        assert len(numbers(events)) + lost(events) == EVENTS
        assert no_holes(events)


def test_an_empty_file_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    fill(tmp_path, closed=False)
    os.truncate(tmp_path / "outbox.sqlite", 0)
    left = readable_in(tmp_path / "outbox.sqlite")
    assert left, "the log has them"
    with closing(open_outbox(tmp_path / "outbox.sqlite")) as outbox:
        assert outbox.recovery
        assert set(numbers(rows(outbox))) == left


def test_a_bad_frame_in_the_log_costs_its_page_and_begins_an_epoch(tmp_path: Path) -> None:
    epoch = fill(tmp_path, closed=False)
    log = tmp_path / "outbox.sqlite-wal"
    damage(log, 32 + 10 * (24 + PAGE_BYTES) + 500, noise(64))
    with closing(open_outbox(tmp_path / "outbox.sqlite")) as outbox:
        events = rows(outbox)
        assert outbox.epoch != epoch, "the cloud may know seqs that the node does not"
        assert outbox.recovery is not None
        assert not outbox.recovery.certain
        assert len(numbers(events)) > EVENTS - 10
        assert no_holes(events)
        assert {event.epoch for event in events} == {outbox.epoch}


def test_a_commit_that_a_crash_cut_short_is_no_damage(tmp_path: Path) -> None:
    epoch = fill(tmp_path, closed=False)
    log = tmp_path / "outbox.sqlite-wal"
    os.truncate(log, log.stat().st_size - 1000)
    with closing(open_outbox(tmp_path / "outbox.sqlite")) as outbox:
        assert (outbox.epoch, outbox.recovery) == (epoch, None)
        assert numbers(rows(outbox)) == list(range(1, 261))


def test_what_the_cloud_has_is_not_sent_again(tmp_path: Path) -> None:
    fill(tmp_path, acked=80)
    path = tmp_path / "outbox.sqlite"
    damage(path, PAGE_BYTES, b"\0" * PAGE_BYTES)
    with closing(open_outbox(path)) as outbox:
        assert numbers(rows(outbox)) == list(range(81, EVENTS + 1))
        assert (outbox.oldest(), outbox.last_seq) == (81, EVENTS)


def test_damage_that_shows_to_the_uplink_first_is_mended_by_the_next_commit(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    with closing(open_outbox(path)) as outbox:
        for first in range(1, 4001, 100):
            outbox.commit([make_event(n, data={"n": n, "t": "x" * 1500}) for n in range(first, first + 100)])
        outbox._file.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages = path.stat().st_size // PAGE_BYTES
        damage(path, (pages // 4) * PAGE_BYTES, b"\xff" * PAGE_BYTES)
        outbox._file.reader.execute("PRAGMA cache_size = 0")
        outbox._recent.clear()
        with pytest.raises(OutboxError, match="cannot be read"):
            outbox.pending(0, 10**6, 10**9)
        epoch = outbox.epoch
        assert outbox.commit([make_event(1, data={"n": 4001})]) == 4001
        events = rows(outbox)
        assert (outbox.epoch, bool(outbox.recovery)) == (epoch, True)
        assert no_holes(events)
        assert 0 < lost(events) < 5


damages = st.lists(
    st.tuples(st.floats(0, 1), st.integers(1, 3 * PAGE_BYTES), st.sampled_from(["zeros", "random", "ones"])),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60)
@given(damages=damages, log=st.booleans(), cut=st.none() | st.floats(0, 1), acked=st.sampled_from([0, 90]))
def test_every_readable_event_survives_random_damage(
    damages: Any, log: bool, cut: float | None, acked: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("outbox")
    epoch = fill(folder, closed=not log, acked=acked)
    path = folder / "outbox.sqlite"
    target = folder / "outbox.sqlite-wal" if log else path
    if cut is not None:
        os.truncate(target, int(cut * target.stat().st_size))
    for where, size, kind in damages:
        at = int(where * max(0, target.stat().st_size - size))
        size = min(size, target.stat().st_size - at)
        damage(target, at, {"zeros": b"\0" * size, "ones": b"\xff" * size}.get(kind) or noise(size))
    with closing(open_outbox(path)) as outbox:
        kept = outbox.pending(0, 10**6, 10**9)
        events = [event for row in kept if (event := readable(row.body)) is not None]
        saved = numbers(events)
        assert saved == sorted(set(saved)), "in order, none doubled"
        assert [row.seq for row in kept[1:]] == [row.last_seq + 1 for row in kept[:-1]], "no holes"
        if outbox.recovery is not None and outbox.recovery.certain:
            assert outbox.epoch == epoch
            assert len(kept) - len(gaps(events)) + lost(events) == EVENTS - acked
            assert len(events) == len(kept), "what cannot be read is a gap"
        assert outbox.commit([make_event(1, data={"n": 0})]) == outbox.last_seq
    shutil.rmtree(folder)
