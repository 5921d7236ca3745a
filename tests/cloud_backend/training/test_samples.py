"""Uploads go on after anything, are checked before they count, and stay within bounds."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, select
from sqlmodel import Session

from cloud_backend.store.tables import Node, Quarantined, SampleRow, UploadCount
from cloud_backend.training.samples import SampleStore, digest_of
from cloud_backend.training.upload_rows import EXPIRY_NS, Announced
from common.errors import (
    SampleRefused,
    UploadConflict,
    UploadNoSpace,
    UploadsOpen,
    UploadTooLarge,
    UploadUnknown,
)
from common.samples import encode_sample
from tests.waiting import PATIENCE_S


class Time:
    now_ns = 1_795_000_000_000_000_000

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def store(engine: Engine, tmp_path: Path, clock: Time) -> SampleStore:
    return make_store(engine, tmp_path, clock)


def make_store(engine: Engine, tmp_path: Path, clock: Time, **bounds: int) -> SampleStore:
    return SampleStore(engine, tmp_path / "samples", clock=clock, **{"limit_bytes": 100_000, **bounds})


def content_of(number: int, length: int = 500) -> bytes:
    return encode_sample({"values": np.random.default_rng(number).normal(size=length)})


def announced(content: bytes, **changes: Any) -> Announced:
    fields: dict[str, Any] = {
        "app": "sums",
        "subject": "machine-1",
        "group": "machine-1/run-1",
        "captured_ns": 1,
        "reasons": {"novelty": 0.9},
        "attributes": {},
        "size": len(content),
        "sha256": digest_of(content),
    }
    return Announced(**(fields | changes))


def send(store: SampleStore, node: str, digest: str, offset: int, content: bytes) -> int:
    with store.piece(node, digest, offset) as piece:
        piece.write(content)
    return piece.upload.offset


def count_of(engine: Engine, node: str) -> UploadCount:
    with Session(engine) as session:
        return session.get_one(UploadCount, node)


def test_a_sample_in_pieces_is_stored_once(store: SampleStore, engine: Engine) -> None:
    content = content_of(1)
    upload = store.begin("n1", announced(content))
    assert (upload.offset, upload.complete) == (0, False)
    offset = 0
    while offset < len(content):
        offset = send(store, "n1", upload.id, offset, content[offset : offset + 1000])
    assert store.path(upload.id).read_bytes() == content
    assert not store.partial(upload.id).exists()
    again = store.begin("n1", announced(content))
    assert (again.complete, again.offset) == (True, len(content))
    count = count_of(engine, "n1")
    assert (count.samples, count.bytes_received, count.bytes_stored) == (1, len(content), len(content))


@pytest.mark.parametrize("recorded", [False, True])
def test_times_of_a_sample_are_corrected_as_those_of_its_events_are(
    store: SampleStore, engine: Engine, recorded: bool
) -> None:
    with Session(engine) as session:
        session.add(Node(name="n1", site="plant", enrolled_ns=1, clock_offset_ms=-3_600_000))
        session.commit()
    began_ns = 1_700_000_000_000_000_000
    attributes = {"began_ns": began_ns, "rate_hz": 360.0, "name_ns": "text"}
    store.begin(
        "n1", announced(content_of(1), captured_ns=began_ns, attributes=attributes, recorded=recorded)
    )
    by_ns = 0 if recorded else -3_600_000_000_000
    with Session(engine) as session:
        row = session.scalars(select(SampleRow)).one()
    assert row.captured_ns == began_ns + by_ns
    assert row.attributes == attributes | {"began_ns": began_ns + by_ns}


def test_an_upload_goes_on_where_it_was_after_a_restart(
    store: SampleStore, engine: Engine, tmp_path: Path, clock: Time
) -> None:
    content = content_of(1)
    id = store.begin("n1", announced(content)).id
    send(store, "n1", id, 0, content[:700])
    with store.partial(id).open("ab") as file:  # written, but the crash came before it counted
        file.write(b"left behind")
    store = make_store(engine, tmp_path, clock)
    assert store.begin("n1", announced(content)).offset == 700
    assert send(store, "n1", id, 700, content[700:]) == len(content)
    assert store.path(id).read_bytes() == content


def test_a_crash_between_the_last_byte_and_the_check_is_made_good(
    store: SampleStore, engine: Engine, tmp_path: Path, clock: Time
) -> None:
    content = content_of(1)
    id = store.begin("n1", announced(content)).id
    store.partial(id).write_bytes(content)
    with Session(engine) as session:
        session.get_one(SampleRow, id).offset = len(content)
        session.commit()
    assert make_store(engine, tmp_path, clock).state("n1", id).complete
    assert count_of(engine, "n1").samples == 1


def test_lost_bytes_are_requested_again(store: SampleStore) -> None:
    content = content_of(1)
    id = store.begin("n1", announced(content)).id
    send(store, "n1", id, 0, content[:700])
    store.partial(id).unlink()
    assert store.state("n1", id).offset == 0
    assert send(store, "n1", id, 0, content) == len(content)


@pytest.mark.parametrize("offset", [0, 699, 701, 10_000])
def test_a_piece_at_another_offset_is_a_conflict_that_names_the_right_one(
    store: SampleStore, offset: int
) -> None:
    content = content_of(1)
    id = store.begin("n1", announced(content)).id
    send(store, "n1", id, 0, content[:700])
    with pytest.raises(UploadConflict) as refusal:
        send(store, "n1", id, offset, content[offset:])
    assert refusal.value.offset == 700


def test_two_pieces_at_once_do_not_mix(store: SampleStore) -> None:
    content = content_of(1)
    id = store.begin("n1", announced(content)).id
    with store.piece("n1", id, 0) as piece:
        piece.write(content[:100])
        with pytest.raises(UploadConflict, match="another request"):
            send(store, "n1", id, 0, content)
        assert store.state("n1", id).offset == 0
        piece.write(content[100:])
    assert piece.upload.complete


def test_many_writers_at_once_store_the_content_unharmed(store: SampleStore) -> None:
    content = content_of(1, 2000)
    id = store.begin("n1", announced(content)).id

    def work() -> None:
        while not (upload := store.state("n1", id)).complete:
            try:
                send(store, "n1", id, upload.offset, content[upload.offset : upload.offset + 900])
            except UploadConflict:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert store.path(id).read_bytes() == content


def test_what_was_written_before_a_lost_connection_counts(store: SampleStore) -> None:
    content = content_of(1)
    id = store.begin("n1", announced(content)).id
    with contextlib.suppress(ConnectionError), store.piece("n1", id, 0) as piece:
        piece.write(content[:300])
        raise ConnectionError
    assert store.state("n1", id).offset == 300


def test_content_with_another_digest_is_removed(store: SampleStore, engine: Engine) -> None:
    content = content_of(1)
    id = store.begin("n1", announced(content)).id
    with pytest.raises(SampleRefused, match="another SHA-256"):
        send(store, "n1", id, 0, content[:-1] + b"!")
    assert not store.partial(id).exists()
    assert not store.path(id).exists()
    with pytest.raises(UploadUnknown):
        store.state("n1", id)
    assert count_of(engine, "n1").refused == 1


def test_what_is_not_a_sample_goes_to_quarantine(store: SampleStore, engine: Engine) -> None:
    content = b"GIF89a" + bytes(20_000)
    id = store.begin("n1", announced(content)).id
    with pytest.raises(SampleRefused, match="is refused"):
        send(store, "n1", id, 0, content)
    assert not store.path(id).exists()
    with Session(engine) as session:
        kept = session.scalars(select(Quarantined)).one()
        assert (kept.node, kept.digest) == ("n1", id)
        assert kept.body.startswith(b"GIF89a")
        assert len(kept.body) < len(content)


def test_more_bytes_than_announced_are_refused_and_nothing_of_them_counts(store: SampleStore) -> None:
    content = content_of(1)
    id = store.begin("n1", announced(content)).id
    with pytest.raises(UploadTooLarge):
        send(store, "n1", id, 0, content + b"more")
    assert store.state("n1", id).offset == 0
    assert send(store, "n1", id, 0, content) == len(content)


def test_too_large_a_sample_is_refused_before_it_is_sent(store: SampleStore) -> None:
    with pytest.raises(UploadTooLarge, match="the limit is 100000"):
        store.begin("n1", announced(content_of(1), size=100_001))


def test_a_node_sees_its_own_uploads_only(store: SampleStore) -> None:
    content = content_of(1)
    id = store.begin("n1", announced(content)).id
    for attempt in (lambda: store.state("n2", id), lambda: send(store, "n2", id, 0, content)):
        with pytest.raises(UploadUnknown):
            attempt()
    with pytest.raises(UploadConflict, match="another node"):
        store.begin("n2", announced(content))
    send(store, "n1", id, 0, content)
    assert store.begin("n2", announced(content)).complete


def test_an_announcement_that_contradicts_another_is_refused(store: SampleStore) -> None:
    content = content_of(1)
    store.begin("n1", announced(content))
    with pytest.raises(UploadConflict, match="already announced"):
        store.begin("n1", announced(content, size=5))


def test_open_uploads_and_stored_bytes_of_a_node_are_bounded(
    engine: Engine, tmp_path: Path, clock: Time
) -> None:
    first = content_of(0)
    store = make_store(engine, tmp_path, clock, open_uploads=2, node_limit_bytes=2 * len(first))
    send(store, "n1", store.begin("n1", announced(first)).id, 0, first)
    with pytest.raises(UploadNoSpace, match="bytes stored"):
        store.begin("n1", announced(content_of(1), size=50_000))
    store.begin("n1", announced(content_of(2), size=10))
    store.begin("n1", announced(content_of(3), size=10))
    with pytest.raises(UploadsOpen, match="2 unfinished"):
        store.begin("n1", announced(content_of(4), size=10))
    store.begin("n2", announced(content_of(4), size=10))


def test_what_is_announced_counts_as_stored(engine: Engine, tmp_path: Path, clock: Time) -> None:
    store = make_store(engine, tmp_path, clock, node_limit_bytes=100_000)
    store.begin("n1", announced(content_of(1), size=60_000))
    with pytest.raises(UploadNoSpace, match="60000 bytes stored or on their way"):
        store.begin("n1", announced(content_of(2), size=60_000))


def test_the_last_of_the_disk_is_not_for_samples(store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_backend.training.samples.RESERVE_BYTES", 1 << 60)
    with pytest.raises(UploadNoSpace, match="bytes are free"):
        store.begin("n1", announced(content_of(1)))


def test_an_upload_that_stands_still_is_dropped_after_a_day(store: SampleStore, clock: Time) -> None:
    content = content_of(1)
    id = store.begin("n1", announced(content)).id
    send(store, "n1", id, 0, content[:100])
    clock.now_ns += EXPIRY_NS + 1
    store.begin("n1", announced(content_of(2)))
    assert not store.partial(id).exists()
    with pytest.raises(UploadUnknown):
        store.state("n1", id)
