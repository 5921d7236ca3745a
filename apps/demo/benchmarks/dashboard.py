"""Pages of the dashboard over a large store, in a real browser.

For each page: time to the first paint (frame and heading), time to the drawn page, and the duration of the
page's API requests in sequence without a browser.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from apps.demo.benchmarks.load_generator import enrol_nodes, node_name, send_all
from apps.demo.screenshots.browser import DESKTOP, open_browser, paint_ms
from apps.demo.world.processes import Children
from apps.demo.world.world import CloudSite
from common.cloud_client import CloudClient

VISITS = 5
NODE = node_name(1)
MACHINE = f"{NODE}-machine"
PAGES: dict[str, tuple[str, Sequence[str]]] = {
    "fleet": ("fleet", ("/v1/fleet", "/v1/nodes?limit=100", "/v1/events/newest?limit=20")),
    "node": (
        f"nodes/{NODE}",
        (
            f"/v1/nodes/{NODE}",
            f"/v1/nodes/{NODE}/events?limit=30&order=newest",
            f"/v1/nodes/{NODE}/health-history",
        ),
    ),
    "apps": ("apps", ("/v1/status",)),
    "alerts": ("alerts", ("/v1/alerts?limit=50",)),
    "models": ("models", ("/v1/apps/industrial/models?limit=50",)),
    "learning": ("learning", ("/v1/samples?limit=50&order=newest", "/v1/apps/industrial/jobs?limit=20")),
    "rollouts": ("rollouts", ("/v1/apps/industrial/rollouts?limit=20",)),
    "data": ("data", ("/v1/volumes", "/v1/uploads?limit=100", "/v1/quarantine?limit=20")),
    "settings": ("settings", ("/v1/status",)),
    "industrial": ("apps/industrial", ("/v1/apps/industrial/machines?limit=50",)),
    "machine": (
        f"apps/industrial/machines/{MACHINE}",
        (f"/v1/apps/industrial/machines/{MACHINE}", f"/v1/apps/industrial/machines/{MACHINE}/runs/15"),
    ),
}
"""Path below ``/ui`` and main requests of each measured page."""


@dataclass(frozen=True, slots=True)
class PageTime:
    """One page; medians over `VISITS` visits, except the slowest first paint."""

    page: str
    first_paint_ms: float
    slowest_ms: float
    drawn_ms: float
    """Page in its frame; its contents follow over the live connection."""
    query_ms: float


@dataclass(frozen=True, slots=True)
class FilledStore:
    """Contents of the store, and the time to fill it."""

    nodes: int
    events: int
    seconds: float


class DashboardBench:
    """A cloud with a large store; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._children = Children(folder / "logs")
        self._cloud = CloudSite(self._children, folder / "cloud")

    def __enter__(self) -> DashboardBench:
        self._children.__enter__()
        self._cloud.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._children.stop()

    def fill(self, nodes: int, events: int) -> FilledStore:
        """Send ``events`` events in total from ``nodes`` simulated nodes."""
        started = time.perf_counter()
        with self._cloud.client() as client:
            send_all(enrol_nodes(client, nodes, events // nodes))
            counts = client.get("/v1/status")["counts"]
        return FilledStore(counts["nodes"], counts["committed"], time.perf_counter() - started)

    def pages(self) -> Iterator[PageTime]:
        """Visit every page, each time in a new tab of one signed-in browser with a warm cache."""
        with self._cloud.client() as client, open_browser() as browser:
            context = browser.new_context(viewport=DESKTOP)
            page = context.new_page()
            page.goto(client.post("/v1/sign-in-links")["url"])
            page.close()
            for name, (path, requests) in PAGES.items():
                paints = []
                for _ in range(VISITS + 1):
                    page = context.new_page()
                    paints.append(paint_ms(page, f"{client.url}/ui/{path}"))
                    page.close()
                queries = [_seconds(client, requests) for _ in range(VISITS)]
                first, drawn = zip(*paints[1:], strict=True)
                yield PageTime(
                    name,
                    statistics.median(first),
                    max(first),
                    statistics.median(drawn),
                    1e3 * statistics.median(queries),
                )

    def resident_mb(self) -> float:
        """Resident memory of the cloud's process (Linux)."""
        lines = Path(f"/proc/{self._cloud.child.pid}/status").read_text("ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024


def _seconds(client: CloudClient, requests: Sequence[str]) -> float:
    started = time.perf_counter()
    for request in requests:
        client.get(request)
    return time.perf_counter() - started
