"""The commands against a real cloud over HTTP, as a user types them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import uvicorn
from typer.testing import CliRunner

from cloud_backend.commands import cloud as cloud_app
from cloud_backend.commands import fleet, keys, model, rollout
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
from tests.cloud_backend.labelled_samples import store_labelled
from tests.cloud_backend.learner import NAME
from tests.waiting import PATIENCE_S

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


@pytest.mark.slow
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


def test_what_the_cloud_refuses_is_reported(run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_figure_of_one_of_several_things_names_it_as_its_case(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tests.cloud_backend.learner import make_learner

    class Training:
        def evaluate(self, *_: object) -> Metrics:
            figures = {"error by night": Figure(1.0), "error by night_of_nothing": Figure(4.0)}
            return Metrics(figures, {"by night": Figure(3.0)})

    class Spec:
        name = NAME
        starter = make_learner(tmp_path / "starter").starter

        def load_train(self) -> Training:
            return Training()

    monkeypatch.setattr("common.app.spec.find_app", lambda name: Spec())
    monkeypatch.delenv("EDGELOOP_DATA", raising=False)
    result = runner.invoke(model, ["evaluate", NAME, "--json"], catch_exceptions=False)
    rows = [
        {name: row[name] for name in ("figure", "case", "value", "against", "ratio", "slice") if name in row}
        for row in facts(result.stdout.splitlines())
    ]
    assert rows == [
        {"figure": "error", "case": "by night", "value": 1.0},
        {"figure": "error_of_nothing", "case": "by night", "value": 4.0},
        {"figure": "by night", "value": 3.0, "slice": True},
        {"figure": "error", "case": "by night", "value": 1.0, "against": "error_of_nothing", "ratio": 0.25},
    ]


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


def test_the_state_reported_by_a_node_is_a_word_in_the_list() -> None:
    assert health_text({}) == ""
    assert health_text({"ok": True, "problems": []}) == ""
    assert health_text({"ok": False, "problems": ["3 events were lost"]}) == "not ok: 3 events were lost"
    assert health_text({"ok": False, "problems": ["a" * 500, "b"]}) == f"not ok: {'a' * 80} (and 1 more)"
    assert health_text({"ok": False, "problems": "x"}) == ""
