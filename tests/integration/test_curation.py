"""Curation: samples worth learning from are kept and uploaded once, within their budgets."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import uvicorn
from sqlalchemy import update
from sqlmodel import Session, col, select

from cloud_backend.api import create_api
from cloud_backend.runtime.assembly import build
from cloud_backend.runtime.cloud import Cloud
from cloud_backend.store.tables import Node, NodeSubject, SampleRow
from common.config.cloud import CloudSettings, HttpSettings, MqttSettings
from common.config.node import CurationSettings, Enrolment
from common.edge.curation.allowance import DAY_NS, SLOT_NS, Allowance
from common.edge.curation.curation import Curation
from common.errors import SampleError
from common.samples import decode_sample
from common.sealing import key_text
from tests.builders import FIRST_NS, make_app, make_sample
from tests.waiting import PATIENCE_S, wait_for

SIZE = len(b"x") + 500
"""A little more than what one of these samples takes."""


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_ns = FIRST_NS

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def curation(folder: Path, clock: Clock, enrolment: Enrolment | None = None, **settings: Any) -> Curation:
    return Curation(
        folder / "samples",
        "sums",
        enrolment,
        CurationSettings(**settings),
        clock,
    )


def names(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "samples").glob("*.npz")}


def test_the_status_names_the_reason_of_held_samples(tmp_path: Path, clock: Clock) -> None:
    curating = curation(tmp_path, clock)
    assert "offered no sample" in curating.status()["detail"]
    curating.offer(make_sample(1, score=0.4))
    assert "curation.min_score" in curating.status()["detail"]
    curating.offer(make_sample(2, score=0.9))
    status = curating.status()
    assert (status["offered"], status["below_min_score"], status["waiting"]) == (2, 1, 1)
    assert "no enrolment" in status["detail"]


def test_dull_samples_are_not_kept_unless_the_readings_drift(tmp_path: Path, clock: Clock) -> None:
    curating = curation(tmp_path, clock)
    curating.offer(make_sample(1, score=0.4))
    assert (curating.waiting, curating.ignored) == (0, 1)
    curating.offer(make_sample(1, score=0.4), drifting=True)
    assert curating.waiting == 1


def test_a_kept_sample_is_whole_on_disk_and_kept_once(tmp_path: Path, clock: Clock) -> None:
    curating = curation(tmp_path, clock)
    for _ in range(3):
        curating.offer(make_sample(7))
    (path,) = (tmp_path / "samples").glob("*.npz")
    assert np.array_equal(decode_sample(path.read_bytes())["values"], make_sample(7).arrays["values"])
    sidecar = msgspec.json.decode(path.with_suffix(".json").read_bytes())
    assert sidecar["group"] == "machine-1/run-7"
    assert sidecar["reasons"] == {"novelty": 0.9}


def test_the_least_interesting_goes_first(tmp_path: Path, clock: Clock) -> None:
    curating = curation(tmp_path, clock, store_bytes=3 * SIZE)
    for number, score in enumerate((0.6, 0.9, 0.7, 0.8, 0.95)):
        curating.offer(make_sample(number, score=score))
    kept = [
        msgspec.json.decode(path.read_bytes())["score"]
        for path in (tmp_path / "samples").glob("*[0-9a-f].json")
    ]
    assert sorted(kept) == [0.8, 0.9, 0.95]
    curating.offer(make_sample(99, score=0.55))
    assert curating.waiting == 3


def test_samples_survive_a_restart_and_halves_of_them_go(tmp_path: Path, clock: Clock) -> None:
    curating = curation(tmp_path, clock)
    for number in range(3):
        curating.offer(make_sample(number))
    first, second, _ = sorted(names(tmp_path))
    (tmp_path / "samples" / f"{first}.json").unlink()
    (tmp_path / "samples" / f"{second}.npz").write_bytes(b"cut")
    assert curation(tmp_path, clock).waiting == 1
    assert len(names(tmp_path)) == 1


@pytest.mark.parametrize(
    ("sample", "complaint"),
    [
        (
            make_sample(1, values=np.random.default_rng(1).normal(size=50_000)),
            "takes .* bytes, and the store",
        ),
        (make_sample(1, values=np.zeros(4_000_000)), "a sample holds at most"),
        (dataclasses.replace(make_sample(1), arrays={}), "arrays"),
        (dataclasses.replace(make_sample(1), attributes={"bad": object()}), "not JSON"),
    ],
)
def test_what_can_never_be_kept_is_refused(tmp_path: Path, clock: Clock, sample, complaint: str) -> None:
    curating = curation(tmp_path, clock, store_bytes=100_000)
    with pytest.raises(SampleError, match=complaint):
        curating.offer(sample)
    assert not names(tmp_path)


def test_an_allowance_is_for_any_24_hours() -> None:
    allowance = Allowance(1000)
    allowance.spend(FIRST_NS, 600)
    allowance.spend(FIRST_NS + 6 * SLOT_NS, 300)
    assert allowance.left(FIRST_NS + 7 * SLOT_NS) == 100
    assert Allowance(1000, allowance.spent()).left(FIRST_NS + 7 * SLOT_NS) == 100
    assert allowance.left(FIRST_NS + DAY_NS) == 700
    assert allowance.left(FIRST_NS + 2 * DAY_NS) == 1000


def test_an_allowance_stays_small() -> None:
    allowance = Allowance(10**9)
    for minute in range(3 * 1440):
        allowance.spend(FIRST_NS + minute * 60 * 10**9, 1)
        allowance.left(FIRST_NS + minute * 60 * 10**9)
    assert len(allowance.spent()) <= 145


# ---------------------------------------------------------------------------------------- with a cloud


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cloud, Enrolment]]:
    """The real API over HTTP, with a node enrolled."""
    folder = tmp_path_factory.mktemp("cloud")
    with ExitStack() as stack:
        settings = CloudSettings(
            data=str(folder),
            http=HttpSettings(port=0, sample_limit_bytes=2_000_000),
            mqtt=MqttSettings(port=0),
        )
        whole, listener = build(settings, folder, stack)
        whole = dataclasses.replace(whole, apps={**whole.apps, "sums": make_app(folder / "starter")})
        server = uvicorn.Server(uvicorn.Config(create_api(whole), log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_for(lambda: server.started, "the API")
        token, password = whole.access.enrol("n1", "plant")
        with Session(whole.engine) as session:  # as if its first events had arrived
            session.exec(update(Node).where(col(Node.name) == "n1").values(app="sums"))
            session.add(NodeSubject(node="n1", subject="machine-1"))
            session.commit()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield whole, Enrolment("n1", "plant", url, "127.0.0.1", 9, password, token, {}, key_text(bytes(32)))
        server.should_exit = True
        thread.join(PATIENCE_S)


@pytest.fixture
def run() -> Iterator[object]:
    running: list[tuple[Curation, threading.Thread]] = []

    def run_(curating: Curation) -> None:
        thread = threading.Thread(target=curating.run)
        running.append((curating, thread))
        thread.start()

    yield run_
    for curating, thread in running:
        curating.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def stored(cloud: Cloud) -> dict[str, SampleRow]:
    with Session(cloud.engine) as session:
        return {row.digest: row for row in session.exec(select(SampleRow)).all() if row.complete}


def test_samples_arrive_whole_and_their_files_go_once_the_event_is_kept(
    cloud, tmp_path: Path, clock: Clock, run
) -> None:
    whole, enrolment = cloud
    curating = curation(tmp_path, clock, enrolment, chunk_bytes=200)
    curating.offer(make_sample(1))
    curating.offer(make_sample(2))
    digests = names(tmp_path)
    run(curating)
    events = []
    wait_for(lambda: events.extend(curating.finished()) or len(events) == 2, "two uploads")
    assert names(tmp_path) == digests, "not before the event is kept"
    curating.committed()
    assert not names(tmp_path)
    rows = stored(whole)
    assert digests <= set(rows)
    assert {event.data["digest"] for event in events} == digests
    assert {event.type for event in events} == {"edgeloop.sample"}
    row = rows[events[0].data["digest"]]
    assert (row.app, row.node, row.reasons) == ("sums", "n1", {"novelty": 0.9})
    assert curating.bytes_sent == sum(event.data["bytes"] for event in events)


def test_an_upload_that_was_cut_goes_on_where_it_was(cloud, tmp_path: Path, clock: Clock, run) -> None:
    whole, enrolment = cloud
    curating = curation(tmp_path, clock, enrolment, chunk_bytes=100)
    curating.offer(make_sample(31))
    (kept,) = curating._store.samples
    content = (tmp_path / "samples" / f"{kept.digest}.npz").read_bytes()
    assert curating._upload is not None
    pieces = curating._upload.send(kept, content)
    assert next(pieces) + next(pieces) == 200
    pieces.close()
    again = curation(tmp_path, clock, enrolment, chunk_bytes=100)
    run(again)
    wait_for(again.finished, "the upload")
    assert again.bytes_sent == kept.size - 200
    assert kept.digest in stored(whole)


def test_the_days_budget_holds_over_restarts_and_the_best_goes_first(
    cloud, tmp_path: Path, clock: Clock, run
) -> None:
    _, enrolment = cloud
    settings = {"budget_bytes_per_day": 2 * SIZE, "store_bytes": 10**6}
    curating = curation(tmp_path, clock, enrolment, **settings)
    for number, score in enumerate((0.6, 0.9, 0.7, 0.8)):
        curating.offer(make_sample(40 + number, score=score))
    run(curating)
    events = []
    wait_for(lambda: events.extend(curating.finished()) or len(events) == 2, "two uploads")
    assert [event.data["reasons"]["novelty"] for event in events] == [0.9, 0.8]
    curating.committed()
    curating.stop()
    again = curation(tmp_path, clock, enrolment, **settings)
    assert again._next() is None
    clock.now_ns += DAY_NS + SLOT_NS
    best = again._next()
    assert best is not None
    assert best.score == 0.7


def test_a_sample_that_the_cloud_never_takes_goes_with_an_event(
    cloud, tmp_path: Path, clock: Clock, run
) -> None:
    _, enrolment = cloud
    curating = curation(tmp_path, clock, enrolment)
    curating.offer(make_sample(51, values=np.random.default_rng(3).normal(size=700_000)))
    curating.offer(make_sample(52))
    run(curating)
    events = []
    wait_for(lambda: events.extend(curating.finished()) or len(events) == 2, "both are settled")
    curating.committed()
    assert not names(tmp_path)
    (refused,) = [event for event in events if "refused" in event.data]
    assert "413" in refused.data["refused"]


def test_a_cloud_that_is_away_or_forbids_costs_nothing(
    cloud, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    _, enrolment = cloud
    for wrong in (
        msgspec.structs.replace(enrolment, cloud_url="http://127.0.0.1:9"),
        msgspec.structs.replace(enrolment, token="wrong"),
    ):
        curating = curation(tmp_path, clock, wrong)
        curating.offer(make_sample(61))
        thread = threading.Thread(target=curating.run)
        thread.start()
        wait_for(lambda: "waits: " in caplog.text, "a try that fails")
        caplog.clear()
        curating.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert curating.waiting == 1
        assert not curating.finished()


def test_a_sample_of_a_subject_that_the_cloud_does_not_know_yet_lets_others_go_first(
    cloud, tmp_path: Path, clock: Clock, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.edge.curation.upload_order.DEFER_FIRST_S", 0.05)
    monkeypatch.setattr("common.edge.curation.upload_order.DEFER_LAST_S", 0.1)
    whole, enrolment = cloud
    curating = curation(tmp_path, clock, enrolment)
    early = dataclasses.replace(make_sample(61, score=0.9), subject="new-1", group="new-1/run-1")
    curating.offer(early)
    curating.offer(make_sample(62, score=0.6))
    run(curating)
    wait_for(
        lambda: {row.captured_ns for row in stored(whole).values()} & {make_sample(62).captured_ns}, "62"
    )
    assert not [row for row in stored(whole).values() if row.subject == "new-1"]
    with Session(whole.engine) as session:
        session.add(NodeSubject(node="n1", subject="new-1"))
        session.commit()
    wait_for(lambda: [row for row in stored(whole).values() if row.subject == "new-1"], "the early one")
