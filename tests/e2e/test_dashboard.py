"""The real pages in a real browser, over a real cloud with three virtual engines.

Every page at both widths: no error in the console, nothing wider than the window, no serious finding of
axe-core, and hostile data shown as text. Then the work of an operator: sign in, watch, send commands,
acknowledge, label, train, approve, roll out. And posts from another site.

One cloud, one browser and one tab serve all tests; none depends on another.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from apps.demo.screenshots.browser import DESKTOP, PHONE
from apps.demo.world.shows import ENGINES
from apps.demo.world.stage import Stage
from apps.industrial.app import SPEC as INDUSTRIAL
from common.messages import Event, Priority
from tests.e2e.scripted_node import ScriptedNode
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page, WebSocketRoute

pytestmark = [pytest.mark.e2e]
APP, MACHINES = ENGINES.app, ENGINES.subjects
ENGINES_TITLE = INDUSTRIAL.title
MARKUP = '<img src=x onerror="window.broken=1">'
PAGES = {
    "fleet": True,
    f"nodes/{MACHINES[0]}": False,
    "nodes/hostile": True,
    "apps": False,
    "alerts": True,
    "models": False,
    f"models/{APP}/1.0.0": False,
    "learning": False,
    "rollouts": False,
    "data": False,
    "settings": False,
    f"apps/{APP}": True,
    f"apps/{APP}/machines/{MACHINES[0]}": False,
    f"apps/{APP}/machines/{quote(MARKUP, safe='')}": True,
}
"""Path of each page, and whether it shows data of the hostile node."""
WIDTHS = {"desktop": DESKTOP, "phone": PHONE}
FITS = "document.documentElement.scrollWidth <= window.innerWidth"
PATIENCE_MS = 1000 * PATIENCE_S
SERIOUS = ("serious", "critical")
SMALLEST_JOB = '{"epochs": 1, "virtual_runs": 20, "cmapss": false}'
# The browser logs these as errors while it leaves a page.
HARMLESS = re.compile("WebSocket is closed before the connection is established|net::ERR_ABORTED")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A cloud and three engines, far enough that each page has something to show."""
    with Stage(tmp_path_factory.mktemp("stage"), ENGINES) as stage:
        stage.ready()
        stage.wait(lambda: stage.get("/v1/alerts", limit=1)["items"], "an alarm")
        stage.wait(lambda: stage.get("/v1/samples", limit=1)["items"], "a sample")
        yield stage


class Visitor:
    """A signed-in browser, and the errors of its console."""

    def __init__(self, context: BrowserContext, stage: Stage) -> None:
        self.context = context
        self.url = stage.cloud.file.http_url
        self.errors: list[str] = []
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(stage.client.post("/v1/sign-in-links", {"name": "Robin"})["url"])

    def open(self, path: str) -> Page:
        """Open a page and wait until it is there."""
        self.page.goto(f"{self.url}/ui/{path}")
        self.page.wait_for_selector("main h1")
        return self.page

    def _on_console(self, message: Any) -> None:
        if message.type == "error" and not HARMLESS.search(message.text):
            self.errors.append(f"{message.text} ({message.location})")


@pytest.fixture(scope="module")
def tab(browser: Browser, stage: Stage) -> Iterator[Visitor]:
    context = browser.new_context(viewport=DESKTOP)
    yield Visitor(context, stage)
    context.close()


@pytest.fixture
def visitor(tab: Visitor) -> Iterator[Visitor]:
    """The one tab, at the wide width, whose console must stay without errors."""
    tab.errors.clear()
    tab.page.set_viewport_size(DESKTOP)
    yield tab
    assert not tab.errors


@pytest.fixture(scope="module")
def hostile(stage: Stage) -> None:
    """Every text of a node, a label and a work order is markup that would run."""
    now_ns = time.time_ns()
    life = {"run": 1, "cycle": 2, "rul_cycles": 9.0, "lower_cycles": 1.0, "upper_cycles": 20.0}
    life |= {"novelty": 2.0, "version": MARKUP}
    health = {"version": MARKUP, "slot": MARKUP, "step": MARKUP, "confirmed": True, "drift": True}
    health |= {"readings": MARKUP, "latency_p50_ms": MARKUP, "bytes_raw": MARKUP, "outbox_events": MARKUP}
    adoption = {"version": MARKUP, "step": "refused", "ok": False, "reason": MARKUP, "detail": MARKUP}
    adoption |= {"app": APP, "rollout": MARKUP, "from_version": MARKUP}
    started = {"app": APP, "version": MARKUP, "slot": MARKUP, "profile": MARKUP, "tags": [MARKUP]}
    alarm = life | {"horizon_cycles": 30.0, "sensors": [MARKUP], "sensor_cycles": [-3.0]}
    with ScriptedNode(stage.client, "hostile") as node:
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
        stage.wait(lambda: len(stage.get(seen)["items"]) == 7, "what the hostile node sent")
    label = {"subject": MARKUP, "group": MARKUP, "kind": MARKUP, "body": {MARKUP: MARKUP}, "source": MARKUP}
    stage.client.post(stage.app_path("labels"), label)
    order = {"machine": MARKUP, "run": 1, "kind": "failure", "cycle": 7, "note": MARKUP}
    stage.client.post(stage.app_path("work-orders"), order)


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("path", PAGES)
def test_every_page_fits_and_is_accessible(visitor: Visitor, path: str) -> None:
    """At both widths; the second by resizing the window.

    Contrast takes nine tenths of axe-core's time and is checked on one narrow page only: narrow styles change
    the layout, and colours only in the bar at the top.
    """
    page = visitor.open(path)
    page.wait_for_function("window.did_handshake")
    if PAGES[path]:
        page.get_by_text(MARKUP).first.wait_for()
    for name, viewport in WIDTHS.items():
        page.set_viewport_size(viewport)
        page.wait_for_function(FITS)
        assert not serious(page, contrast=viewport is DESKTOP or path == "fleet"), name
    assert page.evaluate("window.broken") is None
    assert page.locator("img[src=x]").count() == 0


def serious(page: Page, *, contrast: bool) -> list[tuple[str, str, list[str]]]:
    """Findings of axe-core that exclude users."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations"], "rules": {"color-contrast": {"enabled": contrast}}}
    found = Axe().run(page, options=options).response["violations"]
    return [
        (each["id"], each["help"], [node["html"][:200] for node in each["nodes"]][:3])
        for each in found
        if each["impact"] in SERIOUS
    ]


def test_pages_require_a_sign_in(browser: Browser, stage: Stage) -> None:
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


def test_an_event_appears_by_itself(visitor: Visitor, stage: Stage) -> None:
    page = visitor.open("fleet")
    with ScriptedNode(stage.client, "watched") as node:
        node.send(Event("watched.event", "a-subject-to-see", time.time_ns(), Priority.EVENT, {}))
        page.get_by_text("a-subject-to-see").first.wait_for()


def test_retired_nodes_are_hidden_until_the_filter_shows_them(visitor: Visitor, stage: Stage) -> None:
    with stage.cloud.client() as client:
        client.post("/v1/nodes", {"node": "sold-1", "site": "plant"})
        client.post("/v1/nodes/sold-1/retire")
    page = visitor.open("fleet?name=sold")
    page.get_by_text("No node matches.").first.wait_for()
    page.get_by_label("Service").click()
    page.get_by_role("option", name="Retired").click()
    page.get_by_role("link", name="sold-1").wait_for()
    page.wait_for_url("**/ui/fleet?service=retired&name=sold")
    page.reload()
    page.get_by_role("link", name="sold-1").wait_for()


def test_a_node_is_unplugged_and_plugged_in(visitor: Visitor, stage: Stage) -> None:
    node = stage.find_node(MACHINES[1])
    page = visitor.open(f"nodes/{node.name}")
    page.get_by_text("online", exact=True).first.wait_for()
    node.cut()
    page.get_by_text("offline", exact=True).first.wait_for()
    node.restore()
    page.get_by_text("online", exact=True).first.wait_for()


def test_a_node_runs_its_golden_cases_on_command(visitor: Visitor) -> None:
    page = visitor.open(f"nodes/{MACHINES[0]}")
    page.get_by_role("button", name="Run golden cases").click()
    page.get_by_role("status").get_by_text("passed").first.wait_for()


def test_a_page_is_inert_until_it_is_connected(tab: Visitor) -> None:
    from playwright.sync_api import TimeoutError

    page = tab.context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    held: list[WebSocketRoute] = []
    page.route_web_socket("**/socket.io/**", lambda route: held.append(route))
    page.goto(f"{tab.url}/ui/settings")
    enrol = page.get_by_role("button", name="Enrol", include_hidden=True)
    enrol.wait_for()
    assert page.locator("#page").evaluate("page => page.inert")
    with pytest.raises(TimeoutError, match="inert"):
        enrol.click(timeout=500)
    held[0].connect_to_server()
    page.get_by_label("Name of the node").fill("enrolled-by-hand")
    page.get_by_label("Site").fill("plant")
    enrol.click()
    page.get_by_text("enrolled-by-hand").first.wait_for()
    page.close()


def test_alerts_are_acknowledged_with_who_and_why(visitor: Visitor, stage: Stage) -> None:
    """One alert, then all that are shown."""
    page = visitor.open("alerts")
    page.get_by_role("link", name=re.compile("engine")).nth(1).click()
    page.wait_for_url(f"**/apps/{APP}/machines/engine-*")
    page = visitor.open("alerts")
    page.get_by_role("button", name="Acknowledge industrial").first.click()
    acknowledge(page, "Ordered the parts.")
    page.get_by_text("Robin").first.wait_for()
    with ScriptedNode(stage.client, "worried") as node:
        alarm = Event("worried.alarm", "a-pump", time.time_ns(), Priority.ALARM, {})
        node.send(alarm, alarm)
        page.get_by_text("a-pump").nth(1).wait_for()
    page.get_by_role("button", name="Acknowledge all of these").first.click()
    title = page.get_by_role("dialog").get_by_role("heading").inner_text()
    acknowledge(page, "Seen at the morning round.")
    choose(page.get_by_label("Show"), "Acknowledged")
    page.get_by_text("Ordered the parts.").first.wait_for()
    page.get_by_text("Seen at the morning round.").first.wait_for()
    seen = stage.client.items("/v1/alerts", state="acknowledged", limit=100)
    notes = [alert["acknowledged"]["note"] for alert in seen if alert["acknowledged"]["by"] == "Robin"]
    assert title == f"Acknowledge {notes.count('Seen at the morning round.')} alerts"
    assert not [
        alert for alert in stage.client.items("/v1/alerts", state="open") if alert["node"] == node.name
    ]


def acknowledge(page: Page, note: str) -> None:
    """Fill in the dialog of an acknowledgement."""
    page.get_by_label("Note (what you do about it)").fill(note)
    page.get_by_role("dialog").get_by_role("button", name="Acknowledge").click()
    page.get_by_role("dialog").wait_for(state="hidden")


def choose(field: Locator, option: str) -> None:
    """Choose an option of a select."""
    field.click()
    field.page.get_by_role("option", name=option).click()


def ended_job(stage: Stage) -> dict[str, Any] | None:
    """The newest training job, once it has ended."""
    jobs = stage.get(stage.app_path("jobs"), limit=1)["items"]
    return jobs[0] if jobs and jobs[0]["ended_ns"] else None


def test_learning_and_rolling_out_by_hand(visitor: Visitor, stage: Stage) -> None:
    """Label a sample; train a candidate, approve it against the gate, roll it out, halt and revert it.

    Then roll it out from the page of models. The job is the smallest real one, so the gate refuses it.
    """
    page = visitor.open("learning")
    page.get_by_role("button", name="Label").first.click()
    page.get_by_role("button", name="Close work order").click()
    page.get_by_text("Work order closed.").wait_for()
    page.get_by_role("dialog").wait_for(state="hidden")
    page.get_by_label("Parameters as JSON").fill(SMALLEST_JOB)
    page.get_by_role("button", name="Start training").click()
    job = stage.wait(lambda: ended_job(stage), "the training job ends")
    assert job["state"] == "refused", job
    version = job["version"]
    page.get_by_text(version).first.wait_for()

    page = visitor.open("models")
    approve(page, version)

    with ScriptedNode(stage.client, "still") as node:  # It never answers, so nothing but a person decides.
        node.send(Event("edgeloop.node.started", "still", time.time_ns(), Priority.EVENT, {"app": APP}))
        stage.wait(lambda: stage.node(node.name)["app"], "a node that runs the app")
    page = visitor.open("rollouts")
    ours = page.locator("section", has=page.get_by_role("heading", name=ENGINES_TITLE))
    ours.get_by_role("button", name="Start a rollout").click()
    start(page, node.name)
    page.get_by_role("button", name="Halt").click()
    page.get_by_role("dialog").get_by_role("button", name="Halt").click()
    page.get_by_text("halted").first.wait_for()
    revert(page, stage)

    page = visitor.open("models")
    approve(page, version)
    page.get_by_role("button", name=f"Roll out {version}").click()
    start(page, node.name)
    page.wait_for_url(f"**/rollouts/{APP}/{version}-*")
    revert(page, stage)
    page.get_by_role("link", name=f"Model {version}").click()
    page.get_by_text("Refused after rollout").wait_for()


def approve(page: Page, version: str) -> None:
    """Approve a version on the page of models; it can be rolled out then."""
    page.get_by_role("button", name=f"Approve {version}").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("seen on a stand")
    page.get_by_role("dialog").get_by_role("button", name="Approve").click()
    page.get_by_role("button", name=f"Roll out {version}").wait_for()
    page.get_by_text("Robin").first.wait_for()


def start(page: Page, node: str) -> None:
    """Fill in the dialog that starts a rollout, for one node."""
    page.get_by_label("Soak in seconds").fill("600")
    page.get_by_label("Only these nodes").fill(node)
    page.get_by_role("dialog").get_by_role("button", name="Start").click()
    page.get_by_text("is running, started").wait_for()


def revert(page: Page, stage: Stage) -> None:
    """Revert the rollout that is shown."""
    page.get_by_role("button", name="Revert").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Revert").click()
    rollouts = stage.app_path("rollouts")
    stage.wait(lambda: stage.get(rollouts, limit=1)["items"][0]["state"] == "reverted", "the reversal")
    page.get_by_text("reverted").first.wait_for()


def test_another_site_can_post_nothing(visitor: Visitor, stage: Stage) -> None:
    url = stage.cloud.file.http_url
    body = {"node": "forged", "site": "plant"}
    refused = visitor.context.request.post(
        f"{url}/v1/nodes", data=body, headers={"Origin": "http://evil.example"}
    )
    assert refused.status == 403
    taken = visitor.context.request.post(f"{url}/v1/nodes", data=body, headers={"Origin": url})
    assert taken.status == 201
