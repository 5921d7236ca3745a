"""Pseudonyms: identities stay on the node of an app whose subjects are persons."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.app.edge import Reading
from common.app.spec import AppSpec
from common.config.node import NodeSettings
from common.edge.delivery.outbox import Outbox
from common.edge.node import Node
from common.edge.sensing.pseudonyms import SECRET_FILE, keep_secret, pseudonym
from common.errors import ConfigError, ReadingError, SourceError
from common.messages import WireEvent, decode_event
from tests.builders import FIRST_NS, PERIOD_NS, make_app, make_reading
from tests.waiting import wait_for

NAME = "Lovelace, Ada"


class Ward:
    """Readings of one person: good, unusable, with a clock that goes back, and errors that name her."""

    live = False
    virtual = True

    def __init__(self) -> None:
        self._failed = False

    def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
        for position in range((after or 0) + 1, 41):
            reading = make_reading(position, subject=NAME)
            if position == 10:
                reading = replace(reading, values=np.full(4, np.nan))
            if position == 20:
                reading = replace(reading, captured_ns=FIRST_NS - 3600 * PERIOD_NS)
            if position == 25:
                yield ReadingError(f"a line of {NAME} is torn")
            if position == 30 and not self._failed:
                self._failed = True
                raise SourceError(f"the strap of {NAME} is gone")
            yield reading

    def close(self) -> None:
        pass


def open_ward(kind: str, parameters: Mapping[str, str], speed: float) -> Ward:
    return Ward()


def run(folder: Path, spec: AppSpec) -> list[WireEvent]:
    settings = NodeSettings(
        app=spec.name, source="virtual:sums", data=str(folder), speed=0.0, profile="cpu",
        settings={"sample_every": 7},
    )  # fmt: skip
    node = Node(settings, None, spec)
    node.start()
    wait_for(lambda: node.processing.handled >= 41, "all readings")
    assert node.stop() == 0
    with closing(Outbox(folder / "outbox.sqlite", "/local/x", 10**9, lambda: FIRST_NS)) as outbox:
        return [decode_event(row.body) for row in outbox.pending(0, 10**6, 10**9)]


def test_no_name_leaves_the_node_in_an_event(tmp_path: Path) -> None:
    spec = replace(make_app(tmp_path / "starter"), pseudonyms=True, virtual=f"{__name__}:open_ward")
    events = run(tmp_path / "data", spec)
    reported = b"".join(bytes(event.data) + event.subject.encode() for event in events)
    for problem in (b'"unusable"', b'"clock"', b'"source"'):
        assert problem in reported, "the test's readings are not as bad as it thinks"
    kept = b"".join(p.read_bytes() for p in (tmp_path / "data").rglob("*") if p.is_file())
    for found in (reported, kept):
        assert b"Lovelace" not in found
    (subject,) = {event.subject for event in events if event.type == "sums.value"}
    assert subject == pseudonym(keep_secret(tmp_path / "data"), NAME)


def test_an_app_whose_subjects_are_things_sees_their_names(tmp_path: Path) -> None:
    spec = replace(make_app(tmp_path / "starter"), virtual=f"{__name__}:open_ward")
    events = run(tmp_path / "data", spec)
    assert {event.subject for event in events if event.type == "sums.value"} == {NAME}
    assert not (tmp_path / "data" / SECRET_FILE).exists()


def test_the_secret_stays_the_same_and_is_for_its_owner_only(tmp_path: Path) -> None:
    secret = keep_secret(tmp_path)
    assert len(secret) == 32
    path = tmp_path / SECRET_FILE
    path.chmod(0o644)
    assert keep_secret(tmp_path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    other = tmp_path / "other"
    other.mkdir()
    assert keep_secret(other) != secret


def test_a_damaged_secret_is_reported_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / SECRET_FILE).write_bytes(b"short")
    with pytest.raises(ConfigError, match="5 bytes"):
        keep_secret(tmp_path)


def test_a_pseudonym_is_stable_and_depends_on_secret_and_subject() -> None:
    first = pseudonym(b"a" * 32, "100")
    assert re.fullmatch("p-[a-z2-7]{16}", first)
    assert first == pseudonym(b"a" * 32, "100")
    assert len({first, pseudonym(b"b" * 32, "100"), pseudonym(b"a" * 32, "101")}) == 3
