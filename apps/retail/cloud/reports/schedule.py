"""The periodic task of reports: each is mailed once a period, and its delivery recorded.

A report of a day or week is due at its local time on the next day or Monday. A failed delivery is recorded
with its reason, is shown on the page *Reports*, and is tried again after 15 minutes, up to `ATTEMPTS` times;
the first and the last of them are alarms. After a pause of the cloud only the newest report is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog
from sqlmodel import Session, select

from apps.retail.cloud.opening import parse_clock
from apps.retail.cloud.reports.mail import Mailer, message_of
from apps.retail.cloud.reports.rows import report_of
from apps.retail.cloud.settings import ReportSettings
from apps.retail.cloud.stores import Stores, parse_zone
from apps.retail.cloud.tables import CameraStatus, Delivery
from apps.retail.events import ReportFailed, ReportSent
from common.app.cloud import CloudContext
from common.app.events import EventData, make_event
from common.errors import CloudError, ConfigError
from common.messages import Priority

_log = structlog.get_logger("edgeloop.retail")
ATTEMPTS = 8
RETRY_NS = 15 * 60 * 10**9


@dataclass(frozen=True, slots=True)
class Due:
    """A report that is due: its name and days, and failures so far."""

    name: str
    first: date
    last: date
    attempts: int


class Reports:
    """Mails the reports of the settings; belongs to one thread."""

    def __init__(self, context: CloudContext, stores: Stores) -> None:
        """Raises `ConfigError` for reports without a mail server, or with a wrong time or store."""
        settings = stores.settings
        self._context = context
        self._stores = stores
        self._reports = settings.reports
        self._zones: dict[str, ZoneInfo] = {}
        self._minutes: dict[str, int] = {}
        if settings.reports and not settings.smtp.host:
            raise ConfigError("apps.retail.reports needs apps.retail.smtp.host, the mail server")
        for name, report in settings.reports.items():
            where = f"apps.retail.reports.{name}"
            self._zones[name] = parse_zone(report.time_zone, where)
            self._minutes[name] = parse_clock(report.at, f"{where}.at")
        self._mailer = Mailer(settings.smtp) if settings.reports else None
        self._sender = settings.smtp.sender

    def turn(self) -> int:
        """Send what is due; the number of mails that the server took."""
        now_ns = self._context.clock()
        sent = 0
        for name, report in self._reports.items():
            with self._context.session(read_only=True) as session:
                due = self._due(session, name, report, now_ns)
            if due is not None:
                sent += self._send(due, report, now_ns)
        return sent

    def _due(self, session: Session, name: str, report: ReportSettings, now_ns: int) -> Due | None:
        first, last = period_of(report.every, self._zones[name], self._minutes[name], now_ns)
        known = session.get(Delivery, name)
        if known is None or known.last_day != last.isoformat():
            return Due(name, first, last, 0)
        if known.sent or known.attempts >= ATTEMPTS or now_ns - known.time_ns < RETRY_NS:
            return None
        return Due(name, first, last, known.attempts)

    def _send(self, due: Due, report: ReportSettings, now_ns: int) -> int:
        assert self._mailer is not None
        outcome: EventData
        priority = None
        common: Mapping[str, str] = {"first_day": due.first.isoformat(), "last_day": due.last.isoformat()}
        try:
            with self._context.session(read_only=True) as session:
                sites = report.stores or sorted(
                    {*self._stores, *session.exec(select(CameraStatus.site).distinct())}
                )
                if not sites:
                    return 0
                content = report_of(session, self._stores, sites, due.first, due.last, "day", now_ns)
            self._mailer.send(message_of(content, self._sender, report.to, now_ns / 1e9))
        except CloudError as error:
            outcome = ReportFailed(reason=str(error)[:300], attempt=due.attempts + 1, **common)
            if outcome.attempt not in (1, ATTEMPTS):
                priority = Priority.EVENT
            _log.warning("a report was not delivered", report=due.name, reason=str(error))
        else:
            outcome = ReportSent(recipients=len(report.to), rows=len(content.rows), **common)
        with self._context.session() as session:
            self._context.record(session, CHAIN, [make_event(outcome, due.name, now_ns, priority)])
            session.commit()
        return isinstance(outcome, ReportSent)


CHAIN = "chain"
"""Site of events about all stores."""


def period_of(every: str, zone: ZoneInfo, minute: int, now_ns: int) -> tuple[date, date]:
    """First and last day of the newest report that is due: a day, or Monday to Sunday."""
    local = datetime.fromtimestamp(now_ns // 10**9, zone)
    passed = local.hour * 60 + local.minute >= minute
    if every == "day":
        last = local.date() - timedelta(days=1 if passed else 2)
        return last, last
    monday = local.date() - timedelta(days=local.weekday())
    if local.weekday() == 0 and not passed:
        monday -= timedelta(days=7)
    return monday - timedelta(days=7), monday - timedelta(days=1)
