"""The commands against a real cloud over HTTP, as a user types them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import typer
import uvicorn
from typer.testing import CliRunner

from cloud_backend.commands import cards, data, fleet, keys, model, rollout
from cloud_backend.commands import cloud as cloud_app
from cloud_backend.commands.connection import DEFAULT_FOLDER
from cloud_backend.commands.fleets import health_text
from cloud_backend.commands.up import address_of, settings_of
from cloud_backend.runtime.cloud import Cloud
from cloud_backend.runtime.periodic_tasks import PeriodicTask, PeriodicWorker
from common.app.training import Figure, Metrics
from common.config.loader import convert
from common.config.node import Enrolment
from common.errors import CloudError, ConfigError, DatasetError
from tests.builders import make_bundle
from tests.cloud_backend.api.conftest import api, cloud  # noqa: F401  fixtures
from tests.cloud_backend.learner import NAME, store_labelled
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
runner = CliRunner()


@pytest.fixture(scope="module")
def url(api, cloud: Cloud) -> Iterator[str]:  # noqa: F811
    """The cloud's API on a port of its own, with its periodic tasks running."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(api, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    worker = PeriodicWorker("worker", [PeriodicTask("jobs", 0.02, cloud.jobs.tick)])
    thread.start()
    worker.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    worker.stop()
    server.should_exit = True
    thread.join(PATIENCE_S)
    listener.close()


@pytest.fixture
def run(url: str, cloud: Cloud, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    """``run(app, "ls", ...)``: the command's lines; the cloud is named by the environment."""
    monkeypatch.setenv("EDGELOOP_CLOUD", url)
    monkeypatch.setenv("EDGELOOP_TOKEN", cloud.access.admin_token)

    def call(app: typer.Typer, *arguments: str, status: int = 0) -> list[str]:
        result = runner.invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result.stdout.splitlines()

    return call


def facts(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_an_enrolment_is_a_file_for_its_owner_only(run, tmp_path: Path) -> None:
    out = tmp_path / "press-1.json"
    lines = run(fleet, "enrol", "press-1", "--site", "plant", "--out", str(out), "--json")
    assert facts(lines)[0]["file"] == str(out)
    assert "token" not in "".join(lines)
    assert out.stat().st_mode & 0o777 == 0o600
    enrolment = convert(Enrolment, json.loads(out.read_text()), str(out))
    assert (enrolment.node, enrolment.site) == ("press-1", "plant")


def test_the_fleet_is_listed_and_shown(run, tmp_path: Path) -> None:
    run(fleet, "enrol", "press-2", "--site", "plant", "--out", str(tmp_path / "e"))
    assert "press-2" in [row["node"] for row in facts(run(fleet, "ls", "--json"))]
    assert any("press-2" in line for line in run(fleet, "ls"))
    shown = facts(run(fleet, "show", "press-2", "--json"))[0]
    assert (shown["site"], shown["adoptions"]) == ("plant", [])
    assert any("plant" in line for line in run(fleet, "show", "press-2"))
    run(fleet, "hint", "press-2")


def test_a_model_is_added_promoted_rolled_out_and_reverted(run, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", app=NAME, version="by-hand-1", gain=2.0)
    assert facts(run(model, "add", NAME, str(bundle.path), "--json"))[0]["state"] == "candidate"
    promoted = run(model, "promote", NAME, "by-hand-1", "--by", "me", "--reason", "tried", "--json")
    assert facts(promoted)[0]["approved_by"] == "me"
    versions = [row["version"] for row in facts(run(model, "ls", NAME, "--json"))]
    assert "by-hand-1" in versions
    assert versions[-1] == "starter-1"
    assert any("by-hand-1" in line for line in run(model, "ls", NAME))
    assert facts(run(model, "show", NAME, "by-hand-1", "--json"))[0]["lineage"][0]["version"] == "by-hand-1"
    assert any("Lineage" in line for line in run(model, "show", NAME, "by-hand-1"))

    started = facts(
        run(rollout, "start", NAME, "by-hand-1", "--waves", "0.5,1", "--site", "plant", "--json")
    )[0]
    assert started["state"] == "running"
    assert started["constraint"] == {"sites": ["plant"]}
    assert facts(run(rollout, "status", NAME, "--json"))[0]["id"] == started["id"]
    assert facts(run(rollout, "status", NAME, started["id"], "--json"))[0]["adoptions"] == []
    assert any(started["id"] in line for line in run(rollout, "status", NAME, started["id"]))
    halted = facts(run(rollout, "halt", NAME, "--reason", "a look", "--json"))[0]
    assert (halted["state"], halted["reason"]) == ("halted", "a look")
    assert facts(run(rollout, "revert", NAME, started["id"], "--json"))[0]["state"] == "reverted"


def test_training_is_followed_to_its_verdict(run, cloud: Cloud) -> None:  # noqa: F811  a fixture
    run(model, "train", NAME, "--parameter", "gain=2", "--json", status=1)  # nothing is held out
    store_labelled(cloud.engine, cloud.jobs.samples, 4, gain=2.0)
    states = [row["state"] for row in facts(run(model, "train", NAME, "--parameter", "gain=2", "--json"))]
    assert states[-1] == "done"
    run(model, "train", NAME, "--parameter", "gain=50", "--json", status=1)
    listed = facts(run(model, "jobs", NAME, "--json"))
    assert [row["state"] for row in listed[:3]] == ["refused", "done", "refused"]
    assert "no evidence" in listed[2]["message"]
    assert any("training with" in line for line in run(model, "log", NAME, listed[0]["id"]))
    waiting = facts(run(model, "train", NAME, "--parameter", "wait=true", "--no-follow", "--json"))[0]
    assert waiting["state"] == "queued"
    run(model, "cancel", NAME, waiting["id"])


def test_the_state_of_the_cloud_is_shown(run) -> None:
    shown = facts(run(cloud_app, "status", "--json"))[0]
    assert NAME in shown["apps"]
    assert any("broker" in line for line in run(cloud_app, "status"))


def test_what_the_cloud_refuses_is_said(run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CloudError, match=r"no node 'absent'.*404") as refusal:
        run(fleet, "show", "absent")
    assert refusal.value.status == 404
    monkeypatch.setenv("EDGELOOP_TOKEN", "wrong")
    with pytest.raises(CloudError, match="unknown token"):
        run(fleet, "ls")
    monkeypatch.setenv("EDGELOOP_CLOUD", "http://127.0.0.1:1")
    with pytest.raises(CloudError, match="cannot reach"):
        run(fleet, "ls")


def test_wrong_use_exits_with_2(run, url: str) -> None:
    for arguments in (["start", NAME], ["start", NAME, "v", "--waves", "some"], ["nothing"]):
        assert runner.invoke(rollout, arguments).exit_code == 2
    assert runner.invoke(model, ["train", NAME, "--parameter", "novalue"]).exit_code == 2


def test_the_cloud_is_found_by_its_data_folder(
    url: str,
    cloud: Cloud,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("EDGELOOP_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="edgeloop cloud up"):
        runner.invoke(fleet, ["ls", "--data", str(tmp_path)], catch_exceptions=False)
    (tmp_path / "cloud.json").write_text(json.dumps({"http_url": url}))
    with pytest.raises(ConfigError, match="admin-token"):
        runner.invoke(fleet, ["ls", "--data", str(tmp_path)], catch_exceptions=False)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "admin-token").write_text(cloud.access.admin_token + "\n")
    monkeypatch.setenv("EDGELOOP_CLOUD", "http://127.0.0.1:1")
    assert runner.invoke(fleet, ["ls", "--data", str(tmp_path)], catch_exceptions=False).exit_code == 0
    token_file = str(tmp_path / "secrets" / "admin-token")
    arguments = ["ls", "--cloud", url, "--token-file", token_file]
    assert runner.invoke(fleet, arguments, catch_exceptions=False).exit_code == 0


def test_a_model_is_measured_without_a_cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tests.cloud_backend.learner import make_learner

    spec = make_learner(tmp_path / "starter")
    monkeypatch.setattr("common.app.spec.find_app", lambda name: spec)
    result = runner.invoke(model, ["evaluate", NAME, "--json"], catch_exceptions=False)
    assert facts(result.stdout.splitlines()) == [
        {"figure": "error", "value": 1.0, "unit": "", "count": 0, "version": "starter-1"},
        {"figure": "error_of_nothing", "value": 2.0, "unit": "", "version": "starter-1"},
        {
            "figure": "error",
            "value": 1.0,
            "unit": "",
            "against": "error_of_nothing",
            "against_value": 2.0,
            "ratio": 0.5,
            "version": "starter-1",
        },
    ]
    other = make_bundle(tmp_path / "other", app=NAME, version="v2", gain=2.0)
    result = runner.invoke(
        model, ["evaluate", NAME, "--bundle", str(other.path), "--json"], catch_exceptions=False
    )
    assert facts(result.stdout.splitlines())[0]["value"] == pytest.approx(0.0)
    with pytest.raises(DatasetError, match="no folder"):
        runner.invoke(model, ["evaluate", NAME, "--data", "/absent"], catch_exceptions=False)
    with pytest.raises(DatasetError, match="measures no data set"):
        runner.invoke(model, ["evaluate", NAME, "--data", str(tmp_path)], catch_exceptions=False)
    assert runner.invoke(model, ["evaluate", NAME, "--data", "/x", "--virtual"]).exit_code == 2


def test_what_is_named_by_hand_is_measured_before_what_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tests.cloud_backend.learner import make_learner

    class Training:
        def evaluate(self, _bundle: object, _samples: object, data_path: Path | None) -> Metrics:
            if data_path is not None and not (data_path / "rows.txt").is_file():
                raise DatasetError(f"{data_path} has no rows.txt")
            kept = Figure(2.0, recorded=True)
            return Metrics(
                {"error": Figure(1.0, virtual=data_path is None), "error_mean": kept},
                data=f"rows in {data_path}" if data_path else "",
            )

    class Spec:
        name = NAME
        starter = make_learner(tmp_path / "starter").starter

        def load_train(self) -> Training:
            return Training()

    monkeypatch.setattr("common.app.spec.find_app", lambda name: Spec())
    named, environment = tmp_path / "named", tmp_path / "environment"
    for folder in (named, environment):
        folder.mkdir()
        (folder / "rows.txt").touch()
    monkeypatch.setenv("EDGELOOP_DATA", str(environment))

    def data_of(*arguments: str) -> str:
        result = runner.invoke(model, ["evaluate", NAME, "--json", *arguments], catch_exceptions=False)
        rows = facts(result.stdout.splitlines())
        assert (rows[1]["recorded"], rows[1]["data"]) == (True, "the bundle's manifest")
        assert "recorded" not in rows[0]
        return rows[0]["data"]

    assert data_of("--data", str(named)) == f"rows in {named}"
    assert data_of() == f"rows in {environment}"
    assert data_of("--virtual") == "virtual data"
    shown = runner.invoke(model, ["evaluate", NAME], catch_exceptions=False).stdout
    assert f"rows in {environment} (named in EDGELOOP_DATA)" in " ".join(shown.split())
    (named / "rows.txt").unlink()
    with pytest.raises(DatasetError, match=rf"^{named} has no rows"):
        data_of("--data", str(named))
    (environment / "rows.txt").unlink()
    with pytest.raises(DatasetError, match=r"^EDGELOOP_DATA: .*--data names another folder, --virtual"):
        data_of()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("127.0.0.1:0", {"host": "127.0.0.1", "port": 0}),
        (":8080", {"port": 8080}),
        ("box", {"host": "box"}),
        ("[::1]:80", {"host": "::1", "port": 80}),
        ("[::1]", {"host": "::1"}),
    ],
)
def test_addresses_are_read(text: str, expected: dict[str, Any]) -> None:
    assert address_of(text, "--http") == expected


@pytest.mark.parametrize("text", ["host:port", "host:70000"])
def test_wrong_addresses_are_wrong_use(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        address_of(text, "--http")


def test_a_cloud_comes_up_tells_its_state_and_drains(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from cloud_backend.commands import cloud; cloud()"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGELOOP_")}
    arguments = ["up", "--data", str(tmp_path), "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert process.stdout is not None
    with process.stdout:
        assert "ready" in process.stdout.readline()
        status = subprocess.run(
            [*command, "status", "--data", str(tmp_path), "--json"],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env=environment,
            timeout=PATIENCE_S,
        )
        assert json.loads(status.stdout)["broker"]["alive"] is True
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


# ------------------------------------------------------------------------------------------ data sets


def card_of(tmp_path: Path, content: bytes = b"1 2 3\n", /, **changes: str) -> Path:
    path = tmp_path / "cards" / "tiny.md"
    path.parent.mkdir(exist_ok=True)
    lines = {
        "name": "rows.txt",
        "sha256": hashlib.sha256(content).hexdigest(),
        "url": "https://data.example/set.zip",
        "member": "outer/inner.zip/deep/rows.txt",
    } | changes
    body = "\n".join(f'{key} = "{value}"' for key, value in lines.items())
    path.write_text(
        f'+++\ntitle = "Tiny"\nlicence = "CC0"\ncitation = "-"\nhomepage = "https://data.example"\n'
        f"[[files]]\n{body}\n+++\n# Tiny\n"
    )
    return path


def archive_of(tmp_path: Path, content: bytes = b"1 2 3\n") -> Path:
    with ZipFile(tmp_path / "inner.zip", "w") as inner:
        inner.writestr("deep/rows.txt", content)
    with ZipFile(tmp_path / "set.zip", "w") as outer:
        outer.write(tmp_path / "inner.zip", "outer/inner.zip")
    return tmp_path / "set.zip"


def test_every_card_of_the_repository_can_be_read() -> None:
    known = cards.read_cards()
    assert "cmapss" in known
    for card in known.values():
        assert card.files
        assert all(len(file.sha256) == 64 for file in card.files)


def test_a_set_is_unpacked_and_checked(tmp_path: Path) -> None:
    card = cards.read_card(card_of(tmp_path))
    home = tmp_path / "home"
    asked: list[str] = []

    def fetch(url: str, folder: Path) -> Path:
        asked.append(url)
        return archive_of(tmp_path)

    cards.obtain(card, home, fetch)
    assert (home / "rows.txt").read_bytes() == b"1 2 3\n"
    cards.obtain(card, home, fetch)
    assert asked == ["https://data.example/set.zip"]


def test_a_set_that_the_publisher_changed_is_refused(tmp_path: Path) -> None:
    card = cards.read_card(card_of(tmp_path))
    with pytest.raises(DatasetError, match="another SHA-256"):
        cards.obtain(card, tmp_path / "home", lambda url, folder: archive_of(tmp_path, b"other"))
    assert not (tmp_path / "home" / "rows.txt").exists()
    with pytest.raises(DatasetError, match="no member"):
        cards.extract(archive_of(tmp_path), "outer/inner.zip/absent", tmp_path / "home" / "x")
    (tmp_path / "broken.zip").write_bytes(b"PK broken")
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        cards.extract(tmp_path / "broken.zip", "x", tmp_path / "home" / "x")
    assert list((tmp_path / "home").iterdir()) == []


def test_a_member_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "bomb.zip", "w", ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(64 * 1024 * 1024))
    with ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.write(tmp_path / "bomb.zip", "bomb.zip")
    tracemalloc.start()
    for archive_path, member in (
        (tmp_path / "bomb.zip", "zeros"),
        (tmp_path / "outer.zip", "bomb.zip/zeros"),
    ):
        with pytest.raises(DatasetError, match="unpacks to more than"):
            cards.extract(archive_path, member, tmp_path / "home" / "zeros")
    assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    tracemalloc.stop()
    assert list((tmp_path / "home").iterdir()) == []


def test_a_size_that_the_archive_understates_is_counted_while_unpacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "UNPACKED_LIMIT_BYTES", 100_000)
    inner = os.urandom(60_000)
    with ZipFile(tmp_path / "inner.zip", "w") as archive:
        archive.writestr("deep", inner)
    with ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(tmp_path / "inner.zip", "inner.zip")
    with pytest.raises(DatasetError, match="unpacks to more than"):
        cards.extract(tmp_path / "outer.zip", "inner.zip/deep", tmp_path / "home" / "deep")
    monkeypatch.setattr(cards, "UNPACKED_LIMIT_BYTES", 200_000)
    cards.extract(tmp_path / "outer.zip", "inner.zip/deep", tmp_path / "home" / "deep")
    assert (tmp_path / "home" / "deep").read_bytes() == inner


def test_a_directory_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "DIRECTORY_LIMIT_BYTES", 1000)
    with ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(100):
            archive.writestr(f"member-{number}", b"")
    with pytest.raises(DatasetError, match="directory"):
        cards.extract(tmp_path / "many.zip", "member-1", tmp_path / "home" / "x")


@pytest.mark.parametrize(
    "changes", [{"name": "../rows.txt"}, {"url": "http://plain.example/x"}, {"surprise": "1"}]
)
def test_cards_that_are_not_right_are_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(DatasetError):
        cards.read_card(card_of(tmp_path, **changes))


def test_a_copy_on_disk_is_found_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "card_folders", lambda: [card_of(tmp_path).parent])
    monkeypatch.setenv("EDGELOOP_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cards, "download", lambda url, folder: archive_of(tmp_path))
    assert facts(runner.invoke(data, ["ls", "--json"]).stdout.splitlines())[0]["path"] == ""
    (tmp_path / "sets" / "tiny").mkdir(parents=True)
    copy = tmp_path / "sets" / "tiny" / "rows.txt"
    copy.write_bytes(b"1 2 3\n")
    found = runner.invoke(data, ["get", "tiny", "--json"], catch_exceptions=False)
    assert facts(found.stdout.splitlines())[0]["path"] == str(copy.parent)
    assert facts(runner.invoke(data, ["ls", "--json"]).stdout.splitlines())[0]["path"] == str(copy.parent)
    copy.write_bytes(b"altered")
    with pytest.raises(DatasetError, match="not the file of the card"):
        runner.invoke(data, ["get", "tiny"], catch_exceptions=False)
    fetched = runner.invoke(data, ["get", "tiny", "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert fetched.exit_code == 0
    assert (tmp_path / "out" / "rows.txt").read_bytes() == b"1 2 3\n"
    with pytest.raises(DatasetError, match="known: tiny"):
        runner.invoke(data, ["get", "absent"], catch_exceptions=False)


def test_small_answers_are_sent_without_delay() -> None:
    """Without this each answer waits 40 ms for the client's delayed ack."""
    from cloud_backend.runtime.listener import bind

    with bind("127.0.0.1", 0, 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_keys_are_listed_and_rotated(run) -> None:
    before = {row["role"]: row["keys"] for row in facts(run(keys, "ls", "--json"))}
    assert {"root", "targets", "snapshot", "timestamp", NAME} <= set(before)
    for role in ("root", "timestamp", "snapshot", "targets", NAME):
        (after,) = facts(run(keys, "rotate", role, "--json"))
        assert after["role"] == role
        assert not set(after["keys"]) & set(before[role])
    with pytest.raises(CloudError, match="has no role 'roots'"):
        run(keys, "rotate", "roots")
    assert any("timestamp" in line for line in run(keys, "ls"))


def test_a_cloud_lists_its_settings() -> None:
    lines = runner.invoke(cloud_app, ["settings", "--json"]).stdout.splitlines()
    named = {row["name"]: row for row in facts(lines)}
    assert all(row["help"] for row in named.values())
    assert "mqtt.public_host = " in runner.invoke(cloud_app, ["settings"]).stdout


def test_the_data_folder_of_a_settings_file_is_used(tmp_path: Path) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text(f'data = "{tmp_path / "kept"}"\n')
    assert settings_of(None, file).data == str(tmp_path / "kept")
    assert settings_of(tmp_path / "given", file).data == str(tmp_path / "given")
    assert settings_of(None, None).data == DEFAULT_FOLDER


def test_what_a_node_says_of_itself_is_a_word_in_the_list() -> None:
    assert health_text({}) == ""
    assert health_text({"ok": True, "problems": []}) == ""
    assert health_text({"ok": False, "problems": ["3 events were lost"]}) == "not ok: 3 events were lost"
    assert health_text({"ok": False, "problems": ["a" * 500, "b"]}) == f"not ok: {'a' * 80} (and 1 more)"
    assert health_text({"ok": False, "problems": "x"}) == ""
