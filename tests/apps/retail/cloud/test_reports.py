"""Reports: files, the mail as a server receives it, the schedule, failures that are told."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from apps.retail.cloud.reports.schedule import ATTEMPTS, Reports
from apps.retail.cloud.stores import Stores
from cloud_backend.api.routes.alerts import open_alarms
from cloud_backend.ingest.app_tables import rebuild
from cloud_backend.store.tables import StoredEvent
from common.errors import ConfigError
from tests.apps.retail.cloud.mail_server import MailServer, certificate
from tests.apps.retail.cloud.serving import APP, SetClock, client_of, context_of, project
from tests.apps.retail.received import local_ns, minute

PASSWORD = "correct horse"
MINUTE_NS = 60 * 10**9


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(authority: tuple[Path, Path]) -> Iterator[MailServer]:
    with MailServer(*authority, user="reports", password=PASSWORD) as server:
        yield server


@pytest.fixture
def clock() -> SetClock:
    return SetClock(local_ns("2026-07-15 06:00"))


@pytest.fixture
def settings(server: MailServer, authority: tuple[Path, Path], tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    return {
        "stores": {"berlin": {"title": "Berlin & Söhne", "time_zone": "Europe/Berlin"}},
        "smtp": {
            "host": "localhost",
            "port": server.port,
            "ca_file": str(authority[0]),
            "user": "reports",
            "password_file": str(tmp_path / "password"),
            "sender": "edgeloop@shop.example",
        },
        "reports": {
            "daily": {"to": ["a@shop.example", "b@shop.example"], "time_zone": "Europe/Berlin", "at": "06:00"}
        },
    }


def count(engine: Engine) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    project(engine, [minute(1 + i, at_ns + i * MINUTE_NS, 2, 1) for i in range(5)])


def reports(engine: Engine, settings: dict[str, Any], clock: SetClock) -> Reports:
    return Reports(context_of(engine, settings, clock), Stores(settings))


def alarms(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [row.type for row in session.exec(select(StoredEvent).order_by(col(StoredEvent.seq)))]


def attachment(mail: Message) -> list[dict[str, str]]:
    (part,) = [part for part in mail.walk() if part.get_filename()]
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"))))


def test_a_report_arrives_once_with_its_file(
    engine: Engine, settings: dict[str, Any], server: MailServer, clock: SetClock
) -> None:
    count(engine)
    task = reports(engine, settings, clock)
    assert (task.turn(), task.turn()) == (1, 0)
    (received,) = server.mails
    assert received.recipients == ["a@shop.example", "b@shop.example"]
    assert (received.user, received.is_encrypted) == ("reports", True)
    mail = message_from_bytes(received.content)
    (row,) = attachment(mail)
    assert (row["title"], row["day"], row["visits"], row["went_out"]) == (
        "Berlin & Söhne",
        "2026-07-14",
        "10",
        "5",
    )
    html = next(part for part in mail.walk() if part.get_content_subtype() == "html")
    body = html.get_payload(decode=True)
    assert isinstance(body, bytes)
    assert "Berlin &amp; Söhne" in body.decode()
    assert alarms(engine) == ["retail.report_sent"]
    rebuild(engine, "retail", APP)
    assert reports(engine, settings, clock).turn() == 0, "a delivery is known after a rebuild"
    clock.now_ns += 24 * 60 * MINUTE_NS
    assert task.turn() == 1


def test_a_failing_mail_is_told_and_tried_again(
    engine: Engine, settings: dict[str, Any], server: MailServer, clock: SetClock
) -> None:
    count(engine)
    server.refuse = "552 the mailbox is full"
    task = reports(engine, settings, clock)
    assert (task.turn(), task.turn(), alarms(engine)) == (0, 0, ["retail.report_failed"])
    with client_of(engine, settings, clock) as client:
        (item,) = client.get("/reports").json()["items"]
    assert (item["sent"], item["attempts"]) == (False, 1)
    assert "the mailbox is full" in item["reason"]
    assert PASSWORD not in item["reason"]
    server.refuse = ""
    clock.now_ns += 15 * MINUTE_NS
    assert task.turn() == 1
    with client_of(engine, settings, clock) as client:
        (item,) = client.get("/reports").json()["items"]
    assert (item["sent"], item["attempts"], item["reason"]) == (True, 0, "")


def test_it_is_given_up_after_some_attempts(
    engine: Engine, settings: dict[str, Any], server: MailServer, clock: SetClock
) -> None:
    count(engine)
    server.refuse = "552 the mailbox is full"
    task = reports(engine, settings, clock)
    for _ in range(ATTEMPTS + 3):
        task.turn()
        clock.now_ns += 15 * MINUTE_NS
    assert alarms(engine) == ["retail.report_failed"] * ATTEMPTS
    with Session(engine) as session:
        assert open_alarms(session) == 2, "the first failure and the last"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ca_file": ""}, "certificate"),
        ({"user": "somebody"}, "535"),
        ({"port": 1}, "refused"),
    ],
)
def test_a_server_that_cannot_be_trusted_or_reached_gets_nothing(
    engine: Engine,
    settings: dict[str, Any],
    server: MailServer,
    clock: SetClock,
    change: dict[str, Any],
    reason: str,
) -> None:
    count(engine)
    settings["smtp"] |= change
    assert reports(engine, settings, clock).turn() == 0
    assert server.mails == []
    with client_of(engine, settings, clock) as client:
        (item,) = client.get("/reports").json()["items"]
    assert reason in item["reason"].lower()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"smtp": {}}, r"reports needs apps\.retail\.smtp\.host"),
        ({"smtp": {"host": "h", "user": "u", "security": "none"}}, "not sent without TLS"),
        ({"smtp": {"host": "h", "password_file": "/absent"}}, "/absent"),
        ({"reports": {"daily": {"to": ["a b"]}}}, "to"),
        ({"reports": {"daily": {"to": ["a@b"], "at": "6"}}}, r"reports\.daily\.at"),
        ({"reports": {"daily": {"to": ["a@b"], "time_zone": "Mars"}}}, r"reports\.daily\.time_zone.*Mars"),
    ],
)
def test_a_wrong_setting_is_a_clear_error(
    engine: Engine, clock: SetClock, change: dict[str, Any], message: str
) -> None:
    whole = {"smtp": {"host": "localhost"}, "reports": {"daily": {"to": ["a@b"]}}} | change
    with pytest.raises(ConfigError, match=message):
        reports(engine, whole, clock)
