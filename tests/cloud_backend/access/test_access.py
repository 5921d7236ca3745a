"""Tokens, passwords and the files of secrets."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, text

from cloud_backend.access import secrets
from cloud_backend.access.tokens import CLOUD_USER, Access, Principal, hash_password
from cloud_backend.store.tables import Node
from common.errors import AccessDenied, MessageError
from common.messages import NAME_PATTERN
from tests.cloud_backend.ingest.nodes import rows


@pytest.fixture
def access(engine: Engine, tmp_path: Path) -> Access:
    return Access(engine, tmp_path / "secrets", lambda: 7)


def test_the_admins_token_is_made_once_and_kept(access: Access, engine: Engine, tmp_path: Path) -> None:
    again = Access(engine, tmp_path / "secrets")
    assert again.admin_token == access.admin_token
    assert again.mqtt_password == access.mqtt_password != access.admin_token
    assert access.admin_token_file.read_text().strip() == access.admin_token
    assert len(access.admin_token) >= 43
    assert access.principal(access.admin_token) == Principal("admin", name="admin")


def test_a_node_is_known_by_its_token(access: Access) -> None:
    token, password = access.enrol("node-1", "plant")
    assert access.principal(token) == Principal("node", "node-1", "plant")
    assert token != password


@pytest.mark.parametrize("token", ["", "x", "ä", "\udcff", "admin", "a" * 10_000])
def test_an_unknown_token_is_denied(access: Access, token: str) -> None:
    access.enrol("node-1", "plant")
    with pytest.raises(AccessDenied):
        access.principal(token)


def test_a_node_that_was_never_given_a_token_has_none(access: Access, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(insert(Node).values(**Node(name="node-9", site="plant").model_dump()))
    with pytest.raises(AccessDenied):
        access.principal("")


def test_enrolling_again_ends_the_old_token_and_keeps_the_node(access: Access, engine: Engine) -> None:
    old, old_password = access.enrol("node-1", "plant")
    with engine.begin() as connection:
        connection.execute(text("UPDATE node SET app = 'industrial'"))
    new, new_password = access.enrol("node-1", "plant")
    assert (old, old_password) != (new, new_password)
    assert access.principal(new).node == "node-1"
    with pytest.raises(AccessDenied):
        access.principal(old)
    (row,) = rows(engine, Node)
    assert (row.app, row.enrolled_ns) == ("industrial", 7)


def test_a_name_cannot_be_taken_at_another_site(access: Access) -> None:
    token, _ = access.enrol("node-1", "plant")
    with pytest.raises(AccessDenied, match="enrolled at site plant"):
        access.enrol("node-1", "elsewhere")
    assert access.principal(token).site == "plant"


@pytest.mark.parametrize(
    ("node", "site"), [("node/1", "plant"), ("+", "plant"), ("node-1", ""), (CLOUD_USER, "plant")]
)
def test_a_name_that_could_be_someone_elses_is_refused(access: Access, node: str, site: str) -> None:
    with pytest.raises(MessageError):
        access.enrol(node, site)


def test_the_store_keeps_no_secret(access: Access, engine: Engine) -> None:
    token, password = access.enrol("node-1", "plant")
    with engine.connect() as connection:
        everything = str(connection.execute(text("SELECT * FROM node")).all())
    for secret in (token, password, access.admin_token, access.mqtt_password):
        assert secret not in everything


def test_the_brokers_users_are_the_nodes_and_the_cloud(access: Access) -> None:
    access.enrol("node-1", "plant")
    assert set(access.broker_users()) == {CLOUD_USER, "plant/node-1"}
    assert not NAME_PATTERN.fullmatch(CLOUD_USER)


def test_a_hash_is_what_mosquitto_makes(tmp_path: Path) -> None:
    """Mosquitto's own tool takes the file for one that needs no upgrade, and its fields have its sizes."""
    file = tmp_path / "passwords"
    file.write_text(f"someone:{hash_password('secret')}\n")
    try:
        subprocess.run(
            ["mosquitto_passwd", "-b", str(file), "another", "secret"], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("mosquitto_passwd is not installed: apt-get install mosquitto")
    ours, theirs = (
        line.partition(":")[2].split("$") for line in sorted(file.read_text().splitlines(), reverse=True)
    )
    assert [ours[1], ours[2]] == [theirs[1], theirs[2]]
    assert [len(part) for part in ours[3:]] == [len(part) for part in theirs[3:]]


def test_secrets_are_for_the_owner_only(access: Access, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_secret_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    folder = secrets.open_folder(tmp_path / "secrets")
    value = secrets.keep(folder, "token")
    folder.chmod(0o755)
    (folder / "token").chmod(0o644)
    assert secrets.keep(secrets.open_folder(folder), "token") == value
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600


def test_an_empty_secret_is_no_secret(tmp_path: Path) -> None:
    folder = secrets.open_folder(tmp_path / "secrets")
    (folder / "token").write_text("\n")
    with pytest.raises(AccessDenied, match="empty"):
        secrets.keep(folder, "token")
