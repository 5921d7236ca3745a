"""The app's progress costs the disk little, and a crash costs nothing of it."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from common.app.edge import Reading
from common.app.spec import AppSpec
from common.bundle import open_bundle
from common.edge.processing.journal import Decided, decode_readings, encode_readings, pack
from common.edge.processing.progress import JOURNAL_SHARE, MIN_STATE_BYTES, REPLAY_S, Progress, Written
from common.errors import OutboxError
from common.model.inference import load_model
from common.model.profile import find_profile
from tests.builders import make_app, make_reading
from tests.restarts import Decider, app_events

MOST_READINGS = 400
STATE = b"s" * 50_000


# ------------------------------------------------------------------------------------- readings as bytes

values = st.one_of(
    arrays.arrays(
        st.sampled_from([np.float64, np.float32]),
        arrays.array_shapes(max_dims=3, max_side=20),
        elements={"allow_nan": True, "allow_infinity": True},
    ),
    arrays.arrays(np.int16, arrays.array_shapes(max_dims=2, max_side=30)),
    arrays.arrays(np.uint8, arrays.array_shapes(max_dims=3, max_side=10)),
    st.tuples(
        arrays.arrays(np.int32, (40, 2), elements=st.integers(-(2**20), 2**20)),
        st.sampled_from([1, 200, 1000]),
    ).map(lambda pair: pair[0] / pair[1]),
)


@given(values=values, rate_hz=st.none() | st.floats(1, 1000), number=st.integers(0, 2**62))
def test_readings_come_back_exactly(values: Any, rate_hz: float | None, number: int) -> None:
    attributes = {"cycle": number, "note": "é", "list": [1, None, 2.5], "more": np.arange(3)}
    reading = Reading("m", -number, number, values, ("a", "b"), rate_hz, attributes)
    (back,) = decode_readings(encode_readings([Decided(reading, number)]))
    assert back.now_ns == number
    assert back.reading.values.dtype == values.dtype
    assert back.reading.values.shape == values.shape
    assert back.reading.values.tobytes() == values.tobytes()
    assert np.array_equal(back.reading.attributes["more"], np.arange(3))
    assert replace(back.reading, values=0, attributes={}) == replace(reading, values=0, attributes={})


def test_a_signal_of_fixed_resolution_takes_a_fraction_of_its_size() -> None:
    rng = np.random.default_rng(3)
    wave = np.sin(np.arange(3600) / 40) + rng.normal(0, 0.005, 3600)
    digital = np.round(wave * 200) / 200
    reading = Reading("p", 0, 1, digital.reshape(-1, 1), ("II",), 360.0, {})
    assert len(encode_readings([Decided(reading, 0)])) < digital.nbytes / 6


@pytest.mark.parametrize("at", [5, 20, -3])
def test_damage_is_found(at: int) -> None:
    content = bytearray(pack(bytes(range(256)) * 40))
    content[at] ^= 0x10
    with pytest.raises(OutboxError):
        decode_readings(bytes(content))


# ------------------------------------------------------------------------------------ what is written


def committed(progress: Progress, now_s: float, size: int = 50_000) -> Written:
    written = progress.write(now_s, lambda: b"s" * size)
    progress.committed(written, now_s)
    return written


def test_the_first_commit_has_the_state_and_those_after_it_the_readings() -> None:
    progress, position = Progress(300.0), count(1)
    progress.add(make_reading(next(position)), 0, 0.001)
    assert committed(progress, 0.0).state is not None
    for second in range(1, 300):
        progress.add(make_reading(next(position)), 0, 0.001)
        written = committed(progress, second)
        assert written.state is None
        assert len(decode_readings(written.journal or b"")) == 1
    progress.add(make_reading(next(position)), 0, 0.001)
    assert committed(progress, 300.0).state is not None
    assert committed(progress, 301.0) == (None, None), "nothing was decided"


def test_readings_that_are_larger_than_the_state_are_not_kept() -> None:
    progress = Progress(300.0)
    progress.add(make_reading(1), 0, 0.0)
    committed(progress, 0.0, size=10)
    for number in range(5):
        progress.add(make_reading(number, values=np.zeros((480, 640, 3), np.uint8)), 0, 0.0)
        assert not progress._readings, "no frame is held until the commit"
    assert committed(progress, 1.0, size=10).state is not None


def test_the_journal_stays_within_its_share_and_its_time() -> None:
    progress = Progress(1e9)
    progress.add(make_reading(1), 0, 0.0)
    committed(progress, 0.0, size=10)
    kept = 0
    for number in count(2):
        progress.add(make_reading(number), 0, 0.0)
        written = committed(progress, 1.0, size=10)
        if written.state is not None:
            break
        kept += len(written.journal or b"")
    assert MIN_STATE_BYTES < kept <= JOURNAL_SHARE * MIN_STATE_BYTES
    progress.add(make_reading(1), 0, REPLAY_S)
    assert committed(progress, 2.0).state is not None, "deciding again would take too long"


def test_attributes_that_cannot_be_kept_cost_a_checkpoint_and_nothing_else() -> None:
    progress = Progress(300.0)
    progress.add(make_reading(1), 0, 0.0)
    committed(progress, 0.0)
    progress.add(replace(make_reading(2), attributes={"odd": object()}), 0, 0.0)
    assert committed(progress, 1.0).state is not None


# ------------------------------------------------------------- commit, checkpoint, crash and replay at will

_folder = Path(tempfile.mkdtemp(prefix="edgeloop-progress-"))
_READINGS = [make_reading(position) for position in range(1, MOST_READINGS + 1)]


@pytest.fixture(scope="module", autouse=True)
def _clean() -> Any:
    yield
    shutil.rmtree(_folder, ignore_errors=True)


class Restarts(RuleBasedStateMachine):
    """A node killed at any point gives the events of an uninterrupted one, each once, in order."""

    spec: AppSpec | None = None
    model: Any = None
    expected: list[Any] = []

    @initialize()
    def begin(self) -> None:
        kind = type(self)
        if kind.spec is None:
            kind.spec = make_app(_folder / "starter")
            kind.model = load_model(open_bundle(kind.spec.starter, app="sums"), find_profile("cpu"))
            whole = Decider(Path(tempfile.mkdtemp(dir=_folder)), kind.spec, kind.model)
            whole.decide(_READINGS)
            whole.commit()
            kind.expected = list(app_events(whole.outbox, "sums").values())
            whole.crash()
        self.folder = Path(tempfile.mkdtemp(dir=_folder))
        self.seen: dict[int, Any] = {}
        self.acked = self.given = 0
        self._start()

    def _start(self) -> None:
        assert self.spec is not None
        self.node = Decider(self.folder, self.spec, self.model)
        assert not self.node.processing.platform.problems.count("state")
        self.given = max(0, self.node.position)

    def _look(self) -> None:
        for seq, event in app_events(self.node.outbox, "sums").items():
            assert self.seen.setdefault(seq, event) == event, "a seq never changes what it names"

    @precondition(lambda self: self.given < MOST_READINGS)
    @rule(number=st.integers(1, 40))
    def decide(self, number: int) -> None:
        self.node.decide(_READINGS[self.given : self.given + number])
        self.given = min(MOST_READINGS, self.given + number)

    @rule()
    def commit(self) -> None:
        self.node.commit()
        assert max(0, self.node.position) == self.given
        self._look()

    @rule()
    def checkpoint(self) -> None:
        self.node.checkpoint()
        self._look()

    @rule(share=st.floats(0, 1))
    def ack(self, share: float) -> None:
        self._look()
        self.acked = max(self.acked, int(share * self.node.outbox.last_seq))
        if self.acked:
            self.node.outbox.acked(self.acked)
        assert self.node.outbox.oldest() > self.acked or not self.node.outbox.events

    @rule()
    def crash(self) -> None:
        self._look()
        last = self.node.outbox.last_seq
        self.node.crash()
        self._start()
        assert self.node.outbox.last_seq == last

    def teardown(self) -> None:
        if not hasattr(self, "node"):
            return
        self.node.decide(_READINGS[self.given :])
        self.node.commit()
        self._look()
        assert [self.seen[seq] for seq in sorted(self.seen)] == self.expected
        self.node.crash()
        shutil.rmtree(self.folder)


TestRestarts = Restarts.TestCase
TestRestarts.settings = settings(max_examples=40, stateful_step_count=30)
