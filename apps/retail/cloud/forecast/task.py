"""The periodic task of forecasts: one store at a time, each once a local day, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import IO

import msgspec
import structlog
from sqlmodel import Session, select

from apps.retail.cloud.counts import visits_by
from apps.retail.cloud.forecast.backtest import DAYS_AHEAD
from apps.retail.cloud.forecast.worker import Answer, Request
from apps.retail.cloud.stores import Stores
from apps.retail.cloud.tables import CameraStatus, ForecastState
from apps.retail.events import Forecasted
from common.app.cloud import CloudContext
from common.app.events import make_event
from common.errors import TrainingError

_log = structlog.get_logger("edgeloop.retail")
FROM_HOUR = 5
"""Local hour from which a store's day is forecast: late counts of the evening before have arrived."""
HISTORY_DAYS = 1096
KNOWN_SHARE = 0.95
"""Share of observed minutes from which the visits of a day are known."""
CHUNK_DAYS = 7
TIMEOUT_NS = 15 * 60 * 10**9
NICE = 10


@dataclass(frozen=True, slots=True)
class Running:
    """A process that forecasts."""

    site: str
    day: date
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    errors: IO[bytes]
    began_ns: int


class Forecasts:
    """Forecasts each store once a day; belongs to one thread."""

    def __init__(self, context: CloudContext, stores: Stores) -> None:
        self._context = context
        self._stores = stores
        self._running: Running | None = None
        self._tried: dict[str, date] = {}
        """Last day of each store on which a forecast was tried."""

    def turn(self) -> None:
        """Collect a forecast that is done, or begin the next one. Raises `TrainingError` for a failed one."""
        running = self._running
        if running is None:
            self._begin_next()
            return
        status = running.process.poll()
        if status is None and self._context.clock() - running.began_ns < TIMEOUT_NS:
            return
        self._running = None
        try:
            self._collect(running, status)
        finally:
            end(running)

    def close(self) -> None:
        """End a running process."""
        if self._running is not None:
            end(self._running)
            self._running = None

    @property
    def is_running(self) -> bool:
        return self._running is not None

    def _begin_next(self) -> None:
        now_ns = self._context.clock()
        with self._context.session(read_only=True) as session:
            for site in sorted({*self._stores, *session.exec(select(CameraStatus.site).distinct())}):
                day = self._stores.today(site, now_ns)
                early = self._stores.local(site, now_ns).hour < FROM_HOUR
                if early or self._tried.get(site) == day or _is_made(session, site, day):
                    continue
                self._tried[site] = day
                request = request_of(session, self._stores, site, day, now_ns)
                if request is not None:
                    self._running = begin(site, day, request, now_ns)
                    return

    def _collect(self, running: Running, status: int | None) -> None:
        if status != 0:
            running.errors.seek(0)
            last = running.errors.read()[-300:].decode("utf-8", "replace").strip()
            reason = "took too long" if status is None else f"ended with status {status}: {last}"
            raise TrainingError(f"the forecast of {running.site} {reason}")
        running.output.seek(0)
        found = msgspec.json.decode(running.output.read(), type=Answer)
        data = Forecasted(
            day=running.day.isoformat(),
            model=found.model,
            expected=found.expected,
            lower=found.lower,
            upper=found.upper,
            backtests=found.backtests,
            note=found.note,
        )
        now_ns = self._context.clock()
        with self._context.session() as session:
            self._context.record(session, running.site, [make_event(data, running.site, now_ns)])
            session.commit()
        _log.info("forecast made", site=running.site, model=found.model, note=found.note)


def request_of(session: Session, stores: Stores, site: str, day: date, now_ns: int) -> Request | None:
    """The history of a store before ``day``; None without a known day."""
    days = list(_known_visits(session, stores, site, day, now_ns))
    known = [at for at, visits in enumerate(days) if visits is not None]
    if not known:
        return None
    first = day - timedelta(days=len(days) - known[0])
    to_come = [day + timedelta(days=ahead) for ahead in range(DAYS_AHEAD)]
    return Request(
        first=first,
        visits=days[known[0] :],
        holidays=dict(stores.holidays(site)),
        closed=[each for each in to_come if stores.is_closed_on(site, each)],
    )


def _known_visits(
    session: Session, stores: Stores, site: str, day: date, now_ns: int
) -> Iterator[float | None]:
    """Visits of the `HISTORY_DAYS` before ``day``, None where unknown or closed.

    Weeks are read one by one: the entrances that are expected change over the years.
    """
    for back in range(HISTORY_DAYS, 0, -CHUNK_DAYS):
        days = [day - timedelta(days=at) for at in range(back, max(0, back - CHUNK_DAYS), -1)]
        buckets = [stores.day(site, each) for each in days]
        for each, count in zip(days, visits_by(session, stores, site, buckets, now_ns), strict=True):
            known = (count.complete_share or 0.0) >= KNOWN_SHARE and not stores.is_closed_on(site, each)
            yield float(count.visits) if known else None


def begin(site: str, day: date, request: Request, now_ns: int) -> Running:
    """Start the process."""
    output, errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  closed by `end`
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "apps.retail.cloud.forecast.worker"],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=errors,
        env={name: value for name, value in os.environ.items() if name != "EDGELOOP_TOKEN"},
        start_new_session=True,
    )
    os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(request) + b"\n")
    process.stdin.flush()
    return Running(site, day, process, output, errors, now_ns)


def end(running: Running) -> None:
    """Kill the process if it still runs, and release what it used."""
    running.process.kill()
    running.process.wait()
    if running.process.stdin is not None:
        running.process.stdin.close()
    running.output.close()
    running.errors.close()


def _is_made(session: Session, site: str, day: date) -> bool:
    state = session.get(ForecastState, site)
    return state is not None and state.day >= day.isoformat()
