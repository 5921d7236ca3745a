"""The dashboard's password: printed at the first start, replaced while the cloud runs; links that sign in."""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
import urllib3
from typer.testing import CliRunner, Result

from cloud_backend.commands import cloud as app
from tests.e2e.cloud_process import CloudProcess, up
from tests.waiting import PATIENCE_S

__all__ = ["up"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
runner = CliRunner()
NEW = "another long password"


def run(*arguments: str, typed: str = "") -> Result:
    return runner.invoke(app, [*arguments], input=typed, catch_exceptions=False)


def sign_in(cloud: CloudProcess, password: str) -> urllib3.BaseHTTPResponse:
    body = urlencode({"name": "Eva", "password": password})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    url = cloud.file().http_url + "/sign-in"
    return urllib3.request("POST", url, body=body, headers=headers, redirect=False, timeout=PATIENCE_S)


def test_the_first_start_prints_a_password_that_is_replaced_while_the_cloud_runs(
    up: Callable[..., CloudProcess],
) -> None:
    cloud = up()
    cloud.wait_ready()
    assert cloud.process.stdout is not None
    line = cloud.process.stdout.readline().decode()
    printed = re.fullmatch(r"the dashboard's password, printed this once: (\S+)\n", line)
    assert printed
    signed_in = sign_in(cloud, printed[1])
    assert (signed_in.status, signed_in.headers["location"]) == (303, "/ui/")
    cookie = {"Cookie": signed_in.headers["set-cookie"].partition(";")[0]}
    session = cloud.file().http_url + "/v1/session"
    assert urllib3.request("GET", session, headers=cookie).json()["name"] == "Eva"

    folder = str(cloud.folder)
    assert run("password", "--data", folder, typed=f"{NEW}\n{NEW}\n").exit_code == 0
    assert urllib3.request("GET", session, headers=cookie, retries=False).status == 401
    assert sign_in(cloud, printed[1]).status == 401
    assert sign_in(cloud, NEW).status == 303
    trail = [json.loads(line) for line in run("audit", "--data", folder, "--json").stdout.splitlines()]
    (entry,) = [entry for entry in trail if entry["action"] == "set the dashboard's password"]
    assert (entry["actor"], entry["address"], entry["details"]) == (f"os:{getpass.getuser()}", "offline", {})

    made = json.loads(run("link", "--data", folder, "--name", "Presenter", "--json").stdout)
    assert made["expires_s"] == 120
    (plain,) = run("link", "--data", folder).stdout.splitlines()
    for url in (made["url"], plain):
        opened = urllib3.request("GET", url, redirect=False)
        assert (opened.status, opened.headers["location"]) == (303, "/ui/")
        assert urllib3.request("GET", url, redirect=False).status == 401

    assert cloud.end() == 0
    for secret in (printed[1], NEW, made["url"].rpartition("/")[2]):
        assert secret not in cloud.errors()
    again = up()
    again.wait_ready()
    again.process.terminate()
    assert again.process.stdout is not None
    assert again.process.stdout.read() == b""
    assert again.end() == 0
