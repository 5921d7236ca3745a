"""``edgeloop node`` as a person or a service uses it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import msgspec
import pytest

from apps.industrial.domain import USED_CHANNELS
from common.config.node import Enrolment
from common.edge.commands import known_enrolment
from common.errors import ConfigError
from common.sealing import key_text
from tests.commands import Command, Done

ENROLMENT = Enrolment(
    "n1", "plant", "http://cloud:8080", "cloud", 1883, "secret", "token", {"signed": {}}, key_text(bytes(32))
)


def write(path: Path, enrolment: Enrolment) -> Path:
    path.write_bytes(msgspec.json.encode(enrolment))
    return path


def test_an_enrolment_is_kept_with_the_node_for_its_eyes_only(tmp_path: Path) -> None:
    given = write(tmp_path / "given.json", ENROLMENT)
    assert known_enrolment(tmp_path / "data", given, None) == ENROLMENT
    kept = tmp_path / "data" / "enrolment.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    given.unlink()
    assert known_enrolment(tmp_path / "data", None, None) == ENROLMENT
    moved = known_enrolment(tmp_path / "data", None, "http://elsewhere")
    assert moved is not None
    assert moved.cloud_url == "http://elsewhere"


def test_a_node_without_enrolment_is_fine_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    assert known_enrolment(tmp_path / "data", None, None) is None
    with pytest.raises(ConfigError, match="there is no enrolment file"):
        known_enrolment(tmp_path / "data", tmp_path / "missing.json", None)
    with pytest.raises(ConfigError, match="needs an enrolment"):
        known_enrolment(tmp_path / "data", None, "http://cloud")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"bad\.json is not an enrolment"):
        known_enrolment(tmp_path / "data", tmp_path / "bad.json", None)


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--source", "virtual:turbofan"], 2, "--app"),
        (["--app", "industrial"], 2, "--source"),
        (["--app", "industrail", "--source", "virtual:turbofan"], 1, "installed: ecg, industrial"),
        (["--app", "industrial", "--source", "telepathy:x"], 1, "there are: ble, csv, edf, file"),
        (["--app", "industrial", "--source", "csv:missing.csv"], 1, "missing.csv cannot be read"),
        (["--app", "industrial", "--source", "virtual:turbofan", "--profile", "abacus"], 1, "cpu, jetson"),
        (["--app", "industrial", "--source", "virtual:turbofan", "--config", "none.toml"], 1, "none.toml"),
    ],
)
def test_wrong_use_is_answered_with_the_right_one(
    edgeloop: Command, tmp_path: Path, arguments: list[str], code: int, complaint: str
) -> None:
    done = edgeloop("node", "run", *arguments)
    assert done.returncode == code, done.stderr
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def once(edgeloop: Command, folder: Path, text: str, *more: str) -> tuple[Done, list[str]]:
    """Run the industrial app once over a CSV file of this text; the process and its log."""
    (folder / "run.csv").write_text(text)
    run = (
        "node",
        "run",
        "--app",
        "industrial",
        "--source",
        "csv:run.csv",
        "--once",
        "--json-log",
        "--speed",
        "0",
    )
    done = edgeloop(*run, *more)
    return done, [json.loads(line)["event"] for line in done.stderr.splitlines()]


HEADER = "subject,cycle," + ",".join(USED_CHANNELS) + "\n"


def row(cycle: int, value: str = "1.5") -> str:
    return f"engine-1,{cycle}," + ",".join([value] * len(USED_CHANNELS)) + "\n"


def test_once_runs_a_file_through_and_ends(edgeloop: Command, tmp_path: Path) -> None:
    done, log = once(edgeloop, tmp_path, HEADER + row(1) + "engine-1,2,hot\n" + row(3))
    assert done.returncode == 0, done.stderr
    assert any("unusable" in line and "run.csv:3" in line for line in log)
    assert "the source has ended: 2 readings were usable, 1 reports and refused readings" in log
    assert (tmp_path / "edgeloop-node" / "outbox.sqlite").is_file()
    again, log = once(edgeloop, tmp_path, (tmp_path / "run.csv").read_text())
    assert again.returncode == 0, again.stderr
    assert "nothing is new behind position 4" in log


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (HEADER, "it has no reading"),
        (HEADER + "engine-1,1,hot\nengine-1,2,hot\n", "2 readings were refused"),
        (HEADER + row(1).rstrip(), "1 readings were refused"),
    ],
)
def test_once_fails_where_nothing_was_usable(
    edgeloop: Command, tmp_path: Path, text: str, reason: str
) -> None:
    done, log = once(edgeloop, tmp_path, text)
    assert done.returncode == 1, done.stderr
    assert f"the source gave nothing usable: {reason}" in log[-1]


def test_what_a_node_decided_is_printed_and_can_be_read_afterwards(edgeloop: Command, tmp_path: Path) -> None:
    done, _ = once(edgeloop, tmp_path, HEADER + row(1) + row(2), "--print")
    assert done.returncode == 0, done.stderr
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert any(line["type"].startswith("industrial.") for line in printed)
    assert set(printed[0]) >= {"type", "subject", "time", "priority", "data"}
    read = edgeloop("node", "events", "--data", "edgeloop-node", "--json")
    assert read.returncode == 0, read.stderr
    assert [json.loads(line) for line in read.stdout.splitlines()] == printed
    some = edgeloop("node", "events", "--data", "edgeloop-node", "--priority", "event")
    assert "edgeloop.node.health" not in some.stdout
    assert "edgeloop.node.started" in some.stdout
    away = edgeloop("node", "events", "--data", "elsewhere")
    assert away.returncode == 1
    assert "there is no node in elsewhere" in away.stderr


def test_every_setting_is_listed_with_its_default_and_a_line_of_help(
    edgeloop: Command, tmp_path: Path
) -> None:
    done = edgeloop("node", "settings", "--json")
    assert done.returncode == 0, done.stderr
    settings = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert settings["outbox.budget_bytes"]["default"] in (268435456, "268435456")
    assert all(line["help"].strip() for line in settings.values())
