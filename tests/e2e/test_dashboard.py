"""The real pages in a real browser, over a real cloud with three virtual engines.

Every page at both widths: no error in the console, nothing wider than the window, no serious finding of
axe-core. Then what a person does: sign in, watch, give commands, acknowledge, label. And what a stranger
tries: text that would be markup, posts from another site.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from apps.demo.browser import DESKTOP, PHONE
from apps.demo.show import APP, KIND, MACHINES, Acts
from apps.demo.stage import Stage
from common.messages import Event, Priority, encode_batch, encode_event, topics
from tests.brokers import MqttClient

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PATHS = (
    "fleet",
    f"nodes/{MACHINES[0]}",
    "apps",
    "alerts",
    "models",
    f"models/{APP}/1.0.0",
    "learning",
    "rollouts",
    "data",
    "settings",
    f"apps/{APP}",
    f"apps/{APP}/machines/{MACHINES[0]}",
)
WIDTHS = {"desktop": DESKTOP, "phone": PHONE}
PATIENCE_MS = 15_000
MARKUP = '<img src=x onerror="window.broken=1">'
SERIOUS = ("serious", "critical")
# Gone for a moment while a page is left; the browser tells of it as an error.
HARMLESS = re.compile("WebSocket is closed before the connection is established|net::ERR_ABORTED")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A cloud and three engines, far enough that each page has something to show."""
    with Stage(tmp_path_factory.mktemp("stage"), APP, KIND, MACHINES) as stage:
        stage.ready()
        stage.wait(lambda: stage.ask("/v1/alerts", limit=1)["items"], "an alarm", 60)
        stage.wait(lambda: stage.ask("/v1/samples", limit=1)["items"], "a sample", 60)
        yield stage


class Visitor:
    """A browser that is signed in, and what its console said."""

    def __init__(self, context: BrowserContext, stage: Stage) -> None:
        self.context = context
        self.url = stage.cloud.file.http_url
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(stage.client.post("/v1/sign-in-links", {"name": "Robin"})["url"])

    def open(self, path: str) -> Page:
        """Open a page and wait until it is live."""
        self.page.goto(f"{self.url}/ui/{path}")
        self.page.wait_for_selector("main h1")
        self.page.wait_for_function("window.socket && window.socket.connected")
        return self.page

    def _hear(self, message: Any) -> None:
        if message.type == "error" and not HARMLESS.search(message.text):
            self.complaints.append(f"{message.text} ({message.location})")


@pytest.fixture(scope="module", params=WIDTHS)
def sized_visitor(request: pytest.FixtureRequest, browser: Browser, stage: Stage) -> Iterator[Visitor]:
    context = browser.new_context(viewport=WIDTHS[request.param])
    yield Visitor(context, stage)
    context.close()


@pytest.fixture
def visitor(browser: Browser, stage: Stage) -> Iterator[Visitor]:
    context = browser.new_context(viewport=DESKTOP)
    visitor = Visitor(context, stage)
    yield visitor
    context.close()
    assert not visitor.complaints


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_sound(sized_visitor: Visitor, path: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    sized_visitor.complaints.clear()
    page = sized_visitor.open(path)
    found = Axe().run(page).response["violations"]
    serious = [
        (each["id"], each["help"], [node["html"][:200] for node in each["nodes"]][:3])
        for each in found
        if each["impact"] in SERIOUS
    ]
    assert not serious
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert not sized_visitor.complaints


def test_nobody_gets_in_without_signing_in(browser: Browser, stage: Stage) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{stage.cloud.file.http_url}/ui/models")
    assert "/sign-in" in page.url
    page.get_by_label("Name").fill("Robin")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    assert "/sign-in" in page.url
    password = _printed_password(stage)
    page.get_by_label("Name").fill("Robin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/ui/models")
    assert page.get_by_text("Signed in as Robin").count()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in*")
    page.goto(f"{stage.cloud.file.http_url}/ui/models")
    assert "/sign-in" in page.url
    context.close()


def _printed_password(stage: Stage) -> str:
    printed = re.search(r"printed this once: (\S+)", stage.cloud.child.log.read_text("utf-8"))
    assert printed
    return printed[1]


def test_an_event_appears_within_two_seconds(visitor: Visitor, stage: Stage) -> None:
    page = visitor.open("fleet")
    with Stranger(stage, "watched") as node:
        node.send(Event("watched.event", "a-subject-to-see", time.time_ns(), Priority.EVENT, {}))
        began = time.monotonic()
        page.get_by_text("a-subject-to-see").first.wait_for()
        assert time.monotonic() - began < 2.0


def test_a_node_is_unplugged_and_plugged_in(visitor: Visitor, stage: Stage) -> None:
    node = stage.find_node(MACHINES[1])
    page = visitor.open(f"nodes/{node.name}")
    page.get_by_text("online", exact=True).first.wait_for()
    node.cut()
    page.get_by_text("offline", exact=True).first.wait_for(timeout=60_000)
    node.restore()
    page.get_by_text("online", exact=True).first.wait_for(timeout=60_000)


def test_a_node_runs_its_golden_cases_when_it_is_told_to(visitor: Visitor) -> None:
    page = visitor.open(f"nodes/{MACHINES[0]}")
    page.get_by_role("button", name="Run golden cases").click()
    page.get_by_role("status").get_by_text("passed").first.wait_for()


def test_an_alert_is_acknowledged_with_who_and_why(visitor: Visitor) -> None:
    page = visitor.open("alerts")
    page.get_by_role("button", name="Acknowledge").first.click()
    page.get_by_label("Note (what you do about it)").fill("Ordered the parts.")
    page.get_by_role("dialog").get_by_role("button", name="Acknowledge").click()
    page.get_by_text("Robin").first.wait_for()
    page.get_by_label("Show").click()
    page.get_by_role("option", name="Acknowledged").click()
    page.get_by_text("Ordered the parts.").first.wait_for()


def ended_job(stage: Stage) -> dict[str, Any] | None:
    """The newest training job, once it has ended."""
    jobs = stage.ask(stage.app_path("jobs"), limit=1)["items"]
    return jobs[0] if jobs and jobs[0]["ended_ns"] else None


@pytest.mark.timeout(480)
def test_learning_and_rolling_out_by_hand(visitor: Visitor, stage: Stage) -> None:
    """A sample is labelled, a candidate trained, rolled out, halted and reverted: all on the pages."""
    turn = Acts(stage).turns[0]
    for act in (turn.begin, turn.collect_samples, turn.close_work_orders):
        act()
    page = visitor.open("learning")
    page.get_by_role("button", name="Label").first.click()
    page.get_by_role("button", name="Close work order").click()
    page.get_by_text("Work order closed.").wait_for()
    page.get_by_role("dialog").wait_for(state="hidden")
    page.get_by_role("button", name="Start training").click()
    job = stage.wait(lambda: ended_job(stage), "the training job ends", 240)
    assert job["state"] == "done", job
    page.get_by_text(job["version"]).first.wait_for()

    page = visitor.open("rollouts")
    page.get_by_role("button", name="Start a rollout").click()
    page.get_by_label("Soak in seconds").fill("600")
    page.get_by_role("dialog").get_by_role("button", name="Start").click()
    page.get_by_role("button", name="Halt").click()
    page.get_by_role("dialog").get_by_role("button", name="Halt").click()
    page.get_by_text("halted").first.wait_for()
    page.get_by_role("button", name="Revert").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Revert").click()
    rollouts = stage.app_path("rollouts")
    stage.wait(lambda: stage.ask(rollouts, limit=1)["items"][0]["state"] == "reverted", "the reversal", 15)
    page.get_by_text("reverted").first.wait_for()


def test_markup_from_a_node_is_shown_as_text(visitor: Visitor, stage: Stage) -> None:
    """Every text that a node sends is markup that would run; every page shows it as text, or not at all."""
    now_ns = time.time_ns()
    life = {"run": 1, "cycle": 2, "rul_cycles": 9.0, "lower_cycles": 1.0, "upper_cycles": 20.0}
    life |= {"novelty": 2.0, "version": MARKUP}
    health = {"version": MARKUP, "slot": MARKUP, "step": MARKUP, "confirmed": True, "drift": True}
    health |= {"readings": MARKUP, "latency_p50_ms": MARKUP, "bytes_raw": MARKUP, "outbox_events": MARKUP}
    adoption = {"version": MARKUP, "step": "refused", "ok": False, "reason": MARKUP, "detail": MARKUP}
    adoption |= {"app": APP, "rollout": MARKUP, "from_version": MARKUP}
    started = {"app": APP, "version": MARKUP, "slot": MARKUP, "profile": MARKUP, "tags": [MARKUP]}
    alarm = life | {"horizon_cycles": 30.0, "sensors": [MARKUP], "sensor_cycles": [-3.0]}
    with Stranger(stage, "hostile") as node:
        node.send(
            Event("edgeloop.node.started", MARKUP, now_ns, Priority.EVENT, started),
            Event("edgeloop.node.health", MARKUP, now_ns, Priority.TELEMETRY, health),
            Event("industrial.rul", MARKUP, now_ns, Priority.TELEMETRY, life),
            Event("industrial.maintenance_due", MARKUP, now_ns, Priority.ALARM, alarm),
            Event("edgeloop.adoption", MARKUP, now_ns, Priority.EVENT, adoption),
            Event("edgeloop.drift", MARKUP, now_ns, Priority.EVENT, {"state": "drift", "version": MARKUP}),
            Event(f"edgeloop.{MARKUP}", MARKUP, now_ns, Priority.EVENT, {"detail": MARKUP, MARKUP: MARKUP}),
        )
        seen = f"/v1/nodes/{node.name}/events"
        stage.wait(lambda: len(stage.ask(seen)["items"]) == 7, "what the hostile node sent", 20)
    label = {"subject": MARKUP, "group": MARKUP, "kind": MARKUP, "body": {MARKUP: MARKUP}, "source": MARKUP}
    stage.client.post(stage.app_path("labels"), label)
    order = {"machine": MARKUP, "run": 1, "kind": "failure", "cycle": 7, "note": MARKUP}
    stage.client.post(stage.app_path("work-orders"), order)
    shown = 0
    for path in (*PATHS, "nodes/hostile", f"apps/{APP}/machines/{quote(MARKUP, safe='')}"):
        page = visitor.open(path)
        page.wait_for_timeout(1500)  # Two refreshes: what arrives late is drawn by them.
        assert page.evaluate("window.broken") is None, path
        assert page.locator("img[src=x]").count() == 0, path
        shown += page.get_by_text(MARKUP).count()
    assert shown > 0


def test_another_site_can_post_nothing(visitor: Visitor, stage: Stage) -> None:
    url = stage.cloud.file.http_url
    body = {"node": "forged", "site": "plant"}
    refused = visitor.context.request.post(
        f"{url}/v1/nodes", data=body, headers={"Origin": "http://evil.example"}
    )
    assert refused.status == 403
    taken = visitor.context.request.post(f"{url}/v1/nodes", data=body, headers={"Origin": url})
    assert taken.status == 201


class Stranger:
    """A node that is enrolled and says what it wants, of an app that nobody has; a context manager."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.name = name
        self._source = f"/strange/{name}"
        self._epoch = f"e{time.time_ns()}"
        self._sent = 0
        given = stage.client.post("/v1/nodes", {"node": name, "site": "strange"})
        self._mqtt = MqttClient(given["mqtt_port"], f"strange/{name}", given["mqtt_password"])

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: object) -> None:
        self._mqtt.close()

    def send(self, *events: Event) -> None:
        first = self._sent + 1
        self._sent += len(events)
        bodies = [
            encode_event(event, source=self._source, epoch=self._epoch, seq=seq)
            for seq, event in enumerate(events, first)
        ]
        batch = encode_batch(
            bodies,
            source=self._source,
            epoch=self._epoch,
            first=first,
            last=self._sent,
            sent_ns=time.time_ns(),
            oldest=first,
        )
        self._mqtt.publish(topics("strange", self.name).up, batch)
