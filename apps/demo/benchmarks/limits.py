"""Limits of the loop, each measured alone: broker, database, and the app with its model.

Broker and database get what the loop itself used: a batch received from a node, and rows stored by the cloud.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from itertools import islice

from apps.demo.benchmarks.bench_site import INDUSTRIAL, SITE, BenchSite
from apps.demo.world.processes import ShowError
from common.app.edge import EdgeContext, Reading
from common.app.spec import find_app
from common.bundle import open_bundle
from common.messages import Event

BATCHES = 400
"""Batches published in one measurement of the broker."""
ROWS = 60_000
"""Rows inserted in one measurement of the database."""
READINGS = 4000
"""Readings processed in one measurement of the app."""
TOPIC = f"edgeloop/v1/{SITE}/limit/echo"
"""A topic with no other subscriber."""


def broker_events_per_s(site: BenchSite, payload: bytes, events: int) -> float:
    """Throughput of the broker alone: one client publishes ``payload``, another receives it."""
    arrived = threading.Semaphore(0)
    subscribed = threading.Event()

    def on_message(*_: object) -> None:
        arrived.release()

    def on_subscribe(*_: object) -> None:
        subscribed.set()

    with site.broker_client() as receiver, site.broker_client() as sender:
        receiver.on_message = on_message
        receiver.on_subscribe = on_subscribe
        receiver.subscribe(TOPIC, 1)
        if not subscribed.wait(10):
            raise ShowError("the broker does not acknowledge a subscription")
        started = time.perf_counter()
        for _ in range(BATCHES):
            sender.publish(TOPIC, payload, qos=1)
        for _ in range(BATCHES):
            if not arrived.acquire(timeout=30):
                raise ShowError("the broker does not deliver published batches")
        return BATCHES * events / (time.perf_counter() - started)


def database_events_per_s(site: BenchSite, rows_per_transaction: int) -> float:
    """Throughput of the database alone: stored rows inserted into a new file with the same schema."""
    source = site.cloud.folder / "cloud.sqlite"
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as connection:
        schema = connection.execute("SELECT sql FROM sqlite_master WHERE tbl_name = 'event' AND sql <> ''")
        statements = [row[0] for row in schema]
        # Rows of the newest stream, in the order in which the loop has inserted them.
        query = "SELECT * FROM event WHERE stream_id = (SELECT max(id) FROM stream) ORDER BY seq LIMIT ?"
        rows = connection.execute(query, (ROWS,)).fetchall()
    file = site.folder / f"bare-{time.monotonic_ns()}.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None)) as bare:
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            bare.execute(f"PRAGMA {pragma}")
        for statement in sorted(statements, key=lambda each: "INDEX" in each.upper().split("(")[0]):
            bare.execute(statement)
        insert = f"INSERT INTO event VALUES ({', '.join('?' * len(rows[0]))})"  # noqa: S608  no input
        started = time.perf_counter()
        for first in range(0, len(rows), rows_per_transaction):
            bare.execute("BEGIN IMMEDIATE")
            bare.executemany(insert, rows[first : first + rows_per_transaction])
            bare.execute("COMMIT")
        seconds = time.perf_counter() - started
    file.unlink()
    return len(rows) / seconds


def process_events_per_s(seed: int) -> float:
    """Throughput of the industrial app with its model, without a node."""
    from common.model.inference import load_model
    from common.model.profile import find_profile

    spec = find_app(INDUSTRIAL)
    model = load_model(open_bundle(spec.starter, app=INDUSTRIAL), find_profile())
    app = spec.load_edge()(EdgeContext(spec.settings(), model))
    source = spec.load_virtual()("turbofan", {"seed": str(seed)}, 0.0)
    readings = [each for each in islice(source.readings(None), READINGS) if isinstance(each, Reading)]
    started = time.perf_counter()
    events = sum(
        isinstance(result, Event)
        for reading in readings
        for result in app.process(reading, reading.captured_ns)
    )
    return events / (time.perf_counter() - started)
