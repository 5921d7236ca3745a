"""Hints of several threads to one node: published in the order of their numbers."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cloud_backend.access.wire_keys import WireKeys
from cloud_backend.ingest.consumer import Consumer
from cloud_backend.ingest.projections import Projections
from cloud_backend.store.engine import open_store, sqlite_url
from common.clock import anchored_clock
from common.config.cloud import IngestSettings
from common.messages import Hint, decode
from tests.cloud_backend.ingest.nodes import SECRET

OVERTAKE_S = 0.1
"""Time in which a second hint could overtake the first one."""


def test_no_hint_overtakes_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_store(sqlite_url(tmp_path / "store.sqlite"))
    consumer = Consumer(
        engine, Projections({}), IngestSettings(),
        host="127.0.0.1", port=1, user="cloud", password="",
        keys=WireKeys(engine, SECRET), clock=anchored_clock(),
    )  # fmt: skip
    other = threading.Thread(target=consumer.hint, args=("plant", "node-1", "golden"))
    published: list[Hint] = []

    def publish(_site: str, _node: str, _topic: str, body: bytes) -> None:
        if not other.ident:
            other.start()
            other.join(OVERTAKE_S)
        published.append(decode(body, Hint))

    monkeypatch.setattr(consumer, "_publish", publish)
    consumer.hint("plant", "node-1", "revert")
    other.join()
    engine.dispose()
    assert [hint.action for hint in published] == ["revert", "golden"]
    assert published[0].number < published[1].number
