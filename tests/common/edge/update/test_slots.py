"""Slots: one whole model at every start, blame for crashes, the starter, refusals that stand."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.bundle import Bundle, open_bundle
from common.edge.update.deployment_serials import REFUSED_LIMIT, Floors
from common.edge.update.slot_state import KILL_LIMIT, REPORT_LIMIT, Content, Order, SlotState
from common.edge.update.slots import Slots
from common.errors import BundleError, UpdateRefused
from tests.builders import make_bundle

APP = "sums"


def order(version: str = "v2", serial: int = 1, **changes: object) -> Order:
    return msgspec.convert({"version": version, "serial": serial, "rollout": "r-1", **changes}, Order)


@pytest.fixture
def starter(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "starter").path


@pytest.fixture
def slots(tmp_path: Path, starter: Path) -> Slots:
    return open_slots(tmp_path, starter)


def open_slots(tmp_path: Path, starter: Path, *, killed: bool = False) -> Slots:
    return Slots(tmp_path / "slots", APP, starter, killed=killed)


def put(slots: Slots, version: str) -> Bundle:
    """A bundle in the idle slot, as a download leaves it."""
    idle = slots.prepare_idle()
    for path in idle.iterdir():
        path.unlink()
    return make_bundle(idle, version=version)


def switch(slots: Slots, version: str = "v2", serial: int = 1) -> None:
    put(slots, version)
    slots.change(lambda state: state.switched(order(version, serial), 5))


def test_the_first_start_runs_the_starter(slots):
    assert slots.live().version == "starter-1"
    assert slots.state.content.starter
    assert slots.state.step == "confirmed"


def test_a_restart_changes_nothing(tmp_path, starter, slots):
    before = slots.state
    assert open_slots(tmp_path, starter).state == before


def test_after_a_switch_the_new_model_is_live_and_the_way_back_is_kept(tmp_path, starter, slots):
    switch(slots)
    again = open_slots(tmp_path, starter)
    assert again.live().version == "v2"
    previous = again.previous()
    assert previous is not None
    assert previous.version == "starter-1"
    assert again.state.unreported[-1].step == "switched"


def test_the_idle_slot_is_closed_in_the_soak(slots):
    switch(slots)
    with pytest.raises(UpdateRefused) as refused:
        slots.prepare_idle()
    assert refused.value.reason == "busy"
    slots.change(lambda state: state.confirmed("", 6))
    slots.prepare_idle()


def test_a_model_that_crashes_in_its_soak_is_reverted_at_the_start(tmp_path, starter, slots):
    switch(slots)
    assert open_slots(tmp_path, starter).live().version == "v2"
    third = open_slots(tmp_path, starter)
    assert third.live().version == "starter-1"
    assert third.state.is_refused("v2", 1)
    assert third.state.unreported[-1].reason == "crash_loop"
    assert third.state.unreported[-1].time_ns > 0


def test_clean_stops_in_the_soak_are_not_blamed(tmp_path, starter, slots):
    switch(slots)
    for _ in range(5):
        again = open_slots(tmp_path, starter)
        assert again.live().version == "v2"
        again.stopped_cleanly()


def test_kills_from_outside_are_not_blamed_on_the_model(tmp_path, starter, slots):
    switch(slots)
    for _ in range(KILL_LIMIT):
        assert open_slots(tmp_path, starter, killed=True).live().version == "v2"


def test_a_model_that_serves_nothing_is_blamed_for_kills_in_the_end(tmp_path, starter, slots):
    switch(slots)
    for _ in range(KILL_LIMIT + 1):
        assert open_slots(tmp_path, starter, killed=True).live().version == "v2"
    assert open_slots(tmp_path, starter, killed=True).live().version == "starter-1"


def test_a_model_that_serves_between_kills_is_never_blamed(tmp_path, starter, slots):
    switch(slots)
    for _ in range(3 * KILL_LIMIT):
        again = open_slots(tmp_path, starter, killed=True)
        assert again.live().version == "v2"
        again.change(lambda state: state.served())


def test_crashes_between_kills_are_counted(tmp_path, starter, slots):
    switch(slots)
    for killed in (True, False, True):
        assert open_slots(tmp_path, starter, killed=killed).live().version == "v2"
    assert open_slots(tmp_path, starter).live().version == "starter-1"


def test_attempts_that_were_killed_from_outside_are_tried_again(tmp_path, starter, slots):
    slots.try_order(order())
    for _ in range(6):
        again = open_slots(tmp_path, starter, killed=True)
        again.try_order(order())
        assert again.state.attempts == 1


def test_new_keys_of_the_app_start_the_serials_again(slots):
    old, new = Floors(1, 5, 5, "t", "old keys"), Floors(1, 6, 6, "t", "new keys")
    slots.change(lambda state: state.saw(old, 2**53))
    slots.change(lambda state: state.without("v2", 2**53))
    assert slots.state.serial_floor(old) == 2**53
    assert slots.state.serial_floor(new) == 0
    slots.change(lambda state: state.saw(new, 7))
    assert (slots.state.seen_serial, slots.state.is_refused("v2", 8)) == (7, False)
    assert slots.state.serial_floor(new) == 7


def test_a_state_from_before_keys_were_kept_keeps_its_serial(slots):
    slots.change(lambda state: state.saw(Floors(1, 5, 5, "t"), 9))
    assert slots.state.serial_floor(Floors(1, 6, 6, "t", "keys")) == 9


def test_a_reverted_version_waits_for_a_newer_serial(slots):
    switch(slots, serial=3)
    slots.change(lambda state: state.reverted("failures", "", 7))
    assert slots.state.is_refused("v2", 3)
    assert slots.state.is_refused("v2", 2)
    assert not slots.state.is_refused("v2", 4)


def test_attempts_that_end_the_process_are_given_up(tmp_path, starter, slots):
    slots.try_order(order())
    open_slots(tmp_path, starter).try_order(order())
    with pytest.raises(UpdateRefused) as refused:
        open_slots(tmp_path, starter).try_order(order())
    assert refused.value.reason == "crash_loop"
    open_slots(tmp_path, starter).try_order(order(serial=2))


def test_a_damaged_live_model_gives_way_to_the_previous_one(tmp_path, starter, slots):
    switch(slots)
    slots.change(lambda state: state.confirmed("", 6))
    (tmp_path / "slots" / slots.state.live / "model.onnx").write_bytes(b"damaged")
    again = open_slots(tmp_path, starter)
    assert again.live().version == "starter-1"
    assert again.state.unreported[-1].reason == "damaged"
    assert not again.state.is_refused("v2", 1)


def test_with_both_slots_damaged_the_starter_runs(tmp_path, starter, slots):
    switch(slots)
    for slot in "ab":
        (tmp_path / "slots" / slot / "model.onnx").unlink()
    again = open_slots(tmp_path, starter)
    assert again.live().version == "starter-1"
    assert again.state.step == "confirmed"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"live": 3}', b"\xff\xfe"])
def test_an_unreadable_state_starts_with_the_starter(tmp_path, starter, slots, content):
    switch(slots)
    (tmp_path / "slots" / "slots.json").write_bytes(content)
    assert open_slots(tmp_path, starter).live().version == "starter-1"


def test_an_upgraded_package_brings_its_new_starter(tmp_path, starter, slots):
    newer = make_bundle(tmp_path / "newer", version="starter-2").path
    assert open_slots(tmp_path, newer).live().version == "starter-2"
    assert open_slots(tmp_path, newer).live().version == "starter-2"


def test_an_upgraded_package_does_not_replace_what_was_rolled_out(tmp_path, starter, slots):
    switch(slots)
    slots.change(lambda state: state.confirmed("", 6))
    newer = make_bundle(tmp_path / "newer", version="starter-2").path
    assert open_slots(tmp_path, newer).live().version == "v2"


def test_a_starter_of_another_app_is_an_error(tmp_path):
    foreign = make_bundle(tmp_path / "foreign", app="ecg").path
    with pytest.raises(BundleError):
        open_slots(tmp_path, foreign)


def test_reports_are_kept_until_they_were_handed_on(tmp_path, starter, slots):
    switch(slots)
    assert len(open_slots(tmp_path, starter).state.unreported) == 1
    slots.change(lambda state: state.reported(1))
    assert slots.state.unreported == []


KEPT = {
    "live": "b",
    "content": {"version": "v2", "starter": False, "settings": {"limit": 2}},
    "previous": {"version": "starter-1", "starter": True, "settings": {}},
    "step": "soak",
    "serial": 4,
    "rollout": "r-1",
    "soak_s": 30.0,
    "compare": True,
    "familiar": False,
    "boots": 1,
    "kills": 2,
    "attempt": {"version": "v3", "serial": 5},
    "attempts": 1,
    "refused": [{"version": "v1", "serial": 3}],
    "seen_serial": 5,
    "floors": {"root": 1, "timestamp": 5, "snapshot": 5, "keys": "t", "app_keys": "k"},
    "unreported": [],
}
"""Contents of ``slots.json``: nodes in the field have such files."""


def test_a_kept_state_is_read_and_written_as_it_is():
    state = msgspec.convert(KEPT, SlotState)
    assert msgspec.json.decode(msgspec.json.encode(state)) == KEPT
    assert (state.is_refused("v1", 3), state.is_refused("v1", 4)) == (True, False)


TRANSITIONS = {
    "boot": lambda s, n: s.started(2, n),
    "kill": lambda s, n: s.started(2, n, killed=True),
    "stop": lambda s, n: s.stopped_cleanly(),
    "try": lambda s, n: s.trying(order(f"v{n}", n)),
    "overwrite": lambda s, n: s if s.step == "soak" else s.idle_overwritten(),
    "switch": lambda s, n: s if s.step == "soak" else s.switched(order(f"v{n}", n), n),
    "confirm": lambda s, n: s.confirmed("", n) if s.step == "soak" else s,
    "revert": lambda s, n: s.reverted("failures", "", n),
    "refuse": lambda s, n: s.gave_up(order(f"v{n}", n), "golden", "", n),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(TRANSITIONS)), st.integers(1, 300)), max_size=200))
def test_state_stays_bounded_and_always_has_a_way_back_in_the_soak(steps):
    state = SlotState(live="a", content=Content(version="starter-1", starter=True))
    for name, number in steps:
        state = TRANSITIONS[name](state, number)
        assert state.live in "ab"
        assert state.step in ("soak", "confirmed")
        assert state.step != "soak" or state.previous is not None
        assert len(state.refused) <= REFUSED_LIMIT
        assert len(state.unreported) <= REPORT_LIMIT
        assert msgspec.json.decode(msgspec.json.encode(state), type=SlotState) == state


def test_both_slots_hold_whole_bundles_after_a_reversal(tmp_path, starter, slots):
    switch(slots)
    slots.change(lambda state: state.reverted("failures", "", 7))
    bundles = [open_bundle(tmp_path / "slots" / slot, app=APP) for slot in "ab"]
    assert {bundle.version for bundle in bundles} == {"starter-1", "v2"}
