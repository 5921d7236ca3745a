"""``edgeloop cloud password`` without a running cloud."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cloud_backend.access.passwords import Passwords
from cloud_backend.commands import cloud as app
from cloud_backend.store.engine import open_store, sqlite_url
from common.errors import AccessDenied, ConfigError

runner = CliRunner()
NEW = "another long password"


def run(*arguments: str, typed: str = "") -> Result:
    return runner.invoke(app, [*arguments], input=typed, catch_exceptions=False)


def test_a_password_is_entered_twice_and_must_be_long(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not the data folder"):
        run("password", "--data", str(tmp_path), typed=f"{NEW}\n{NEW}\n")
    (tmp_path / "secrets").mkdir()
    with pytest.raises(ConfigError, match="has no store"):
        run("password", "--data", str(tmp_path), typed=f"{NEW}\n{NEW}\n")
    (tmp_path / "ports.json").write_text('{"http": 1, "mqtt": 2, "database": "postgresql"}')
    with pytest.raises(ConfigError, match="by --config"):
        run("password", "--data", str(tmp_path), typed=f"{NEW}\n{NEW}\n")
    (tmp_path / "ports.json").unlink()
    open_store(sqlite_url(tmp_path / "cloud.sqlite")).dispose()
    with pytest.raises(AccessDenied, match="12 to 1024"):
        run("password", "--data", str(tmp_path), typed="short\nshort\n")
    assert run("password", "--data", str(tmp_path), typed=f"{NEW}\nother\n").exit_code == 1
    assert not Passwords(tmp_path / "secrets").file.exists()
    result = run("password", "--data", str(tmp_path), typed=f"{NEW}\nother\n{NEW}\n{NEW}\n")
    assert result.exit_code == 0
    assert NEW not in result.output
    assert Passwords(tmp_path / "secrets").fits(NEW)
