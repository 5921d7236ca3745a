"""Signing in and out as a browser does it: the form, links that work once, and the end of a session."""

from __future__ import annotations

import dataclasses
import re
import time
from html.parser import HTMLParser
from urllib.parse import urlsplit

import msgspec
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from cloud_backend.access.login_throttle import FREE_TRIES
from cloud_backend.api import create_api
from cloud_backend.api.auth.middleware import COOKIE, FORM_LIMIT_BYTES
from cloud_backend.api.auth.origins import HOME, local_page
from cloud_backend.runtime.cloud import Cloud
from tests.cloud_backend.access.hand_clock import HandClock
from tests.cloud_backend.api.browsers import FOREIGN, OURS, PASSWORD, THEIRS, new_browser


def fill_in(client: TestClient, password: str = PASSWORD, name: str = "Eva", **more: str):
    return client.post("/sign-in", data={"name": name, "password": password, **more}, headers=OURS)


# ----------------------------------------------------------------------------------- password and form


def test_a_page_leads_to_the_form_and_the_form_back_to_the_page(browser: TestClient) -> None:
    sent_on = browser.get("/ui/nodes/n1?tab=events&x=ä")
    assert sent_on.status_code == 303
    form = browser.get(sent_on.headers["location"])
    assert form.status_code == 200
    page = hidden_page(form.text)
    assert page == "/ui/nodes/n1?tab=events&x=%C3%A4"
    answer = fill_in(browser, next=page)
    assert (answer.status_code, answer.headers["location"]) == (303, page)
    assert browser.get("/ui/nodes/n1").text == "page for Eva, session."
    assert browser.get("/v1/session").json()["name"] == "Eva"


def test_the_cookie_is_for_our_own_pages_only(browser: TestClient) -> None:
    cookie = fill_in(browser).headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=session.")
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/", "max-age=604800"} <= parts
    assert "secure" not in parts
    assert not any(part.startswith("domain") for part in parts)


def test_the_cookie_is_secure_where_browsers_come_by_https(cloud: Cloud, site: FastAPI) -> None:
    with new_browser(site, "https://testserver") as client:
        answer = client.post("/sign-in", data={"name": "Eva", "password": PASSWORD})
        assert "; Secure" in answer.headers["set-cookie"]
    behind = dataclasses.replace(
        cloud,
        settings=msgspec.structs.replace(
            cloud.settings,
            http=msgspec.structs.replace(cloud.settings.http, public_url="https://edge.example/"),
        ),
    )
    with new_browser(create_api(behind)) as client:
        answer = client.post(
            "/sign-in",
            data={"name": "Eva", "password": PASSWORD},
            headers={"Origin": "https://edge.example"},
        )
        assert "; Secure" in answer.headers["set-cookie"]


def test_the_admins_token_works_in_the_passwords_place(browser: TestClient, cloud: Cloud) -> None:
    assert fill_in(browser, cloud.access.admin_token).status_code == 303
    assert cloud.access.admin_token not in browser.cookies[COOKIE]


def test_a_wrong_password_is_reported_and_the_name_is_kept(browser: TestClient) -> None:
    answer = fill_in(browser, "wrong", name='Eva "<b>', next="/ui/alerts")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "Wrong password." in answer.text
    assert "<b>" not in answer.text
    assert "Eva &quot;&lt;b&gt;" in answer.text
    assert hidden_page(answer.text) == "/ui/alerts"


def test_wrong_passwords_are_slowed_down_with_a_time_to_wait(
    browser: TestClient, site: FastAPI, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    clock.now = time.time_ns()  # above that of earlier attempts
    monkeypatch.setattr(cloud.access, "_clock", clock)
    answers = [fill_in(browser, "wrong") for _ in range(FREE_TRIES + 1)]
    assert [answer.status_code for answer in answers] == [401] * FREE_TRIES + [429]
    assert answers[-1].headers["retry-after"] == "1"
    assert "Wait 1 s" in answers[-1].text
    with new_browser(site) as other:
        assert fill_in(other).status_code == 303
    clock.wait(0.9)
    assert fill_in(browser).status_code == 429
    clock.wait(0.1)
    assert fill_in(browser).status_code == 303


@pytest.mark.parametrize("name", ["", "   ", "x" * 61, "a\u202eb", "a\x00b"])
def test_a_name_that_cannot_be_shown_is_refused(browser: TestClient, name: str) -> None:
    answer = fill_in(browser, name=name)
    assert answer.status_code == 400
    assert "set-cookie" not in answer.headers


def test_a_name_is_one_line_of_text(browser: TestClient) -> None:
    fill_in(browser, name="  Eva \n Löwe ")
    assert browser.get("/v1/session").json()["name"] == "Eva Löwe"


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "application/x-www-form-urlencoded", 400),
        (b"name=Eva&password=" + PASSWORD.encode(), "text/plain", 400),
        (b'{"name": "Eva"}', "application/json", 400),
        (b"name=\xff&password=\xff", "application/x-www-form-urlencoded", 400),
        (b"&".join([b"name=Eva"] * 50), "application/x-www-form-urlencoded", 400),
        (b"name=Eva&password=" + b"x" * FORM_LIMIT_BYTES, "application/x-www-form-urlencoded", 413),
    ],
)
def test_a_form_that_is_none_signs_nobody_in(
    browser: TestClient, content: bytes, kind: str, status: int
) -> None:
    answer = browser.post("/sign-in", content=content, headers={"Content-Type": kind, **OURS})
    assert answer.status_code == status
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "page",
    [
        "https://elsewhere.example/",
        "//elsewhere.example/",
        "/\\elsewhere.example",
        "/ui/\\..\\",
        "\\\\elsewhere.example",
        "javascript:alert(1)",
        "/ui/\r\nSet-Cookie: a=b",
        "/uiX",
        "/sign-out",
        "ui/",
        "",
        " /ui/",
        "/ui/" + "x" * 3000,
        '/ui/"><script>',
    ],
)
def test_a_hostile_next_leads_to_the_first_page(browser: TestClient, page: str) -> None:
    answer = browser.get("/sign-in", params={"next": page})
    assert "<script" not in answer.text
    location = fill_in(browser, next=page).headers["location"]
    assert "set-cookie: a" not in str(browser.cookies).lower()
    assert urlsplit(location)[:2] == ("", "")
    assert location == HOME or (location.startswith("/ui/") and location == local_page(page))


def test_the_form_is_labelled_and_runs_no_script(browser: TestClient) -> None:
    answer = browser.get("/sign-in")
    page = Tags()
    page.feed(answer.text)
    inputs = [given for tag, given in page.found if tag == "input" and given.get("type") != "hidden"]
    labels = {given["for"] for tag, given in page.found if tag == "label"}
    assert {given["id"] for given in inputs} == labels == {"name", "password"}
    assert [given["autocomplete"] for given in inputs] == ["username", "current-password"]
    assert ("html", {"lang": "en"}) in page.found
    assert not any(tag == "script" for tag, _ in page.found)
    assert "admin token" in answer.text
    assert "edgeloop cloud password" in answer.text
    head = browser.head("/sign-in")
    assert (head.status_code, head.content) == (200, b"")


# ------------------------------------------------------------------------------------------ one-time links


def make_link(admin: TestClient, **body: str) -> str:
    answer = admin.post("/v1/sign-in-links", json=body)
    assert answer.status_code == 201
    assert answer.json()["expires_s"] == 120
    return answer.json()["url"]


def test_a_link_signs_in_once(browser: TestClient, admin: TestClient, cloud: Cloud, site: FastAPI) -> None:
    url = make_link(admin, name="Presenter")
    assert url.startswith(f"{cloud.http_url}/sign-in/")
    answer = browser.get(urlsplit(url).path)
    assert (answer.status_code, answer.headers["location"]) == (303, HOME)
    assert answer.headers["cache-control"] == "no-store"
    assert browser.get("/ui/fleet").text.startswith("page for Presenter")
    with new_browser(site) as other:
        again = other.get(urlsplit(url).path)
        assert again.status_code == 401
        assert "set-cookie" not in again.headers
        assert other.get("/sign-in/unknown").status_code == 401


def test_a_link_on_another_site_works_although_the_cookie_is_strict(
    browser: TestClient, admin: TestClient
) -> None:
    """The browser would leave the cookie out of a redirect's request, so a page of ours opens the next."""
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = browser.get(urlsplit(make_link(admin)).path, headers=headers)
    assert answer.status_code == 200
    assert f'content="0;url={HOME}"' in answer.text
    assert COOKIE in browser.cookies


def test_looking_at_a_link_without_opening_it_does_not_use_it_up(
    browser: TestClient, admin: TestClient
) -> None:
    path = urlsplit(make_link(admin)).path
    assert browser.head(path).status_code in (401, 405)
    assert browser.get(path).status_code == 303


def test_links_are_for_the_admin_and_people_to_make(
    browser: TestClient, admin: TestClient, node: TestClient, anyone: TestClient
) -> None:
    assert anyone.post("/v1/sign-in-links", json={}).status_code == 401
    assert node.post("/v1/sign-in-links", json={}).status_code == 403
    assert admin.post("/v1/sign-in-links", json={"name": "\u202e"}).status_code == 422
    assert admin.post("/v1/sign-in-links", json={"surprise": 1}).status_code == 422
    fill_in(browser, name="Ada")
    assert browser.post("/v1/sign-in-links", json={}).status_code == 403
    answer = browser.post("/v1/sign-in-links", json={}, headers=OURS)
    browser.cookies.clear()
    browser.get(urlsplit(answer.json()["url"]).path)
    assert browser.get("/v1/session").json()["name"] == "Ada"


# ------------------------------------------------------------------------------- sessions and their end


def test_a_sessions_token_is_a_bearer_token_too(browser: TestClient, anyone: TestClient) -> None:
    fill_in(browser)
    headers = {"Authorization": f"Bearer {browser.cookies[COOKIE]}"}
    shown = anyone.get("/v1/session", headers=headers).json()
    assert (shown["name"], shown["kind"]) == ("Eva", "session")
    assert abs(shown["expires_ns"] / 1e9 - time.time() - 7 * 86400) < 60
    assert anyone.get("/v1/nodes", headers=headers).status_code == 200
    assert anyone.delete("/v1/session", headers=headers).json() == {"id": "Eva"}
    assert anyone.get("/v1/session", headers=headers).status_code == 401
    assert browser.get("/ui/fleet").status_code == 303


def test_the_admins_token_is_no_session(admin: TestClient, node: TestClient) -> None:
    assert admin.get("/v1/session").json() == {"name": "admin", "kind": "token", "expires_ns": None}
    assert admin.delete("/v1/session").status_code == 409
    assert node.get("/v1/session").status_code == 403


def test_signing_out_ends_the_session_and_takes_the_cookie_away(
    browser: TestClient, anyone: TestClient
) -> None:
    fill_in(browser)
    token = browser.cookies[COOKIE]
    assert browser.post("/sign-out", headers=THEIRS).status_code == 403
    assert browser.get("/ui/fleet").status_code == 200
    answer = browser.post("/sign-out", headers=OURS)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert COOKIE not in browser.cookies
    assert anyone.get("/v1/nodes", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert browser.post("/sign-out", headers=OURS).status_code == 303


def test_a_session_that_is_over_leads_to_the_form_again(browser: TestClient, cloud: Cloud) -> None:
    fill_in(browser)
    cloud.access.passwords.set(PASSWORD)
    assert browser.get("/ui/fleet").headers["location"] == "/sign-in?next=%2Fui%2Ffleet"
    assert browser.get("/v1/nodes").status_code == 401
    assert browser.post("/ui/x", headers=OURS).status_code == 401
    assert fill_in(browser).status_code == 303


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_another_site_signs_nobody_in(browser: TestClient, headers: dict[str, str]) -> None:
    answer = browser.post("/sign-in", data={"name": "Eva", "password": PASSWORD}, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


# ------------------------------------------------------------------------------------------------- pieces


class Tags(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def hidden_page(text: str) -> str:
    page = Tags()
    page.feed(text)
    (found,) = (given["value"] for tag, given in page.found if given.get("name") == "next")
    assert re.fullmatch(r"[!-~]+", found)
    return found
