"""Settings: one typed tree; the error for a wrong one names the place and the nearest right key."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config.cloud import CloudSettings
from common.config.loader import explain, load
from common.config.node import NodeSettings
from common.errors import ConfigError


def test_defaults_work_alone() -> None:
    settings = load(NodeSettings)
    assert settings.telemetry.host == "127.0.0.1"
    assert load(CloudSettings).http.host == "127.0.0.1"


def test_later_origins_win(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text('source = "file"\n[outbox]\nbudget_bytes = 70000\n[uplink]\nbatch_events = 5\n')
    settings = load(
        NodeSettings,
        file=file,
        environment={"EDGELOOP_OUTBOX__BUDGET_BYTES": "80000", "EDGELOOP_SOURCE": "environment", "HOME": "x"},
        overrides={"source": "command line", "app": None},
    )
    assert (settings.source, settings.outbox.budget_bytes, settings.uplink.batch_events) == (
        "command line",
        80000,
        5,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("outbx = 1", "did you mean outbox"),
        ("[outbox]\nbudget_byte = 70000", "did you mean outbox.budget_bytes"),
        ("[outbox]\nbudget_bytes = 1", "outbox.budget_bytes"),
        ("[telemetry]\nport = 70000", "telemetry.port"),
        ("speed = 'fast'", "speed"),
        ("speed = ", "node.toml"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "node.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"node\.toml") as caught:
        load(NodeSettings, file=file)
    assert message in str(caught.value)


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigError, match=r"EDGELOOP_UPLINK__LINGER.*did you mean uplink\.linger_s"):
        load(NodeSettings, environment={"EDGELOOP_UPLINK__LINGER": "1"})


def test_a_variable_holds_a_list_between_commas() -> None:
    origins = "http://127.0.0.1:9000, https://show.example"
    loaded = load(CloudSettings, environment={"EDGELOOP_HTTP__FRAME_ANCESTORS": origins})
    assert loaded.http.frame_ancestors == ["http://127.0.0.1:9000", "https://show.example"]
    assert load(NodeSettings, environment={"EDGELOOP_TAGS": ""}).tags == []


@pytest.mark.parametrize(
    "origin", ["*", "show.example", "https://show.example/page", "http://a; script-src *"]
)
def test_only_origins_may_frame_the_dashboard(origin: str) -> None:
    with pytest.raises(ConfigError, match="frame_ancestors"):
        load(CloudSettings, overrides={"http": {"frame_ancestors": [origin]}})


def test_variables_of_the_command_line_are_not_settings() -> None:
    environment = {"EDGELOOP_DATA": "/data", "EDGELOOP_TOKEN": "secret"}
    assert load(NodeSettings, environment=environment) == load(NodeSettings)


def test_an_absent_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no settings file"):
        load(NodeSettings, file=tmp_path / "absent.toml")


@pytest.mark.parametrize("kind", [NodeSettings, CloudSettings])
def test_every_setting_explains_itself(kind: type) -> None:
    settings = list(explain(kind))
    assert len(settings) > 10
    assert [s.name for s in settings if not s.help] == []
