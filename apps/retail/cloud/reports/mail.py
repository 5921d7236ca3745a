"""A report by e-mail: the message, and its delivery by SMTP with TLS."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from html import escape
from pathlib import Path

from apps.retail.cloud.reports.files import as_csv
from apps.retail.cloud.reports.rows import Report, ReportRow
from apps.retail.cloud.settings import SmtpSettings
from common.errors import CloudError, ConfigError

TABLE_ROWS = 200
"""Rows in the text of a mail; the file attached has all."""
_HEAD = ("Store", "Day", "Visits", "Observed", "Conversion", "Expected")


def message_of(report: Report, sender: str, recipients: Sequence[str], now_s: float) -> EmailMessage:
    """The mail: a table of the days, what was unusual, and the CSV file."""
    message = EmailMessage(policy=SMTP)
    days = str(report.first) if report.first == report.last else f"{report.first} to {report.last}"
    message["Subject"] = f"Visitors of {report.title}, {days}".replace("\n", " ")
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Date"] = formatdate(now_s)
    message["Message-ID"] = make_msgid(domain="edgeloop.invalid")
    rows = [_cells(row) for row in report.rows[:TABLE_ROWS]]
    more = len(report.rows) - len(rows)
    notes = [*report.findings] or ["No unusual day."]
    if more:
        notes.append(f"{more} more rows are in the file.")
    lines = ["\t".join(cells) for cells in (_HEAD, *rows)]
    message.set_content("\n".join([*notes, "", *lines]) + "\n")
    table = "".join(
        "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
        for tag, cells in [("th", _HEAD), *(("td", cells) for cells in rows)]
    )
    paragraphs = "".join(f"<p>{escape(note)}</p>" for note in notes)
    message.add_alternative(
        f'{paragraphs}<table border="1" cellpadding="4" cellspacing="0">{table}</table>', subtype="html"
    )
    name = f"visitors-{report.first}-{report.last}.csv"
    message.add_attachment(as_csv(report.rows), maintype="text", subtype="csv", filename=name)
    return message


def _cells(row: ReportRow) -> tuple[str, ...]:
    interval = "–"
    if row.expected_visits is not None and row.expected_lower is not None and row.expected_upper is not None:
        interval = f"{row.expected_visits:,.0f} ({row.expected_lower:,.0f}–{row.expected_upper:,.0f})"
    return (
        row.title,
        row.day,
        f"{row.visits:,}",
        "–" if row.observed_share is None else f"{row.observed_share:.0%}",
        "–" if row.conversion is None else f"{row.conversion:.1%}",
        interval,
    )


class Mailer:
    """Sends mail by one SMTP server."""

    def __init__(self, settings: SmtpSettings) -> None:
        """Raises `ConfigError` for a password file or an authority that cannot be read."""
        self._settings = settings
        self._password = _read(settings.password_file) if settings.password_file else ""
        try:
            self._tls = ssl.create_default_context(cafile=settings.ca_file or None)
        except OSError as error:
            raise ConfigError(f"apps.retail.smtp.ca_file: {settings.ca_file}: {error}") from error
        if settings.user and settings.security == "none":
            raise ConfigError(
                "apps.retail.smtp.user: a password is not sent without TLS: set security to starttls or tls"
            )

    def send(self, message: EmailMessage) -> None:
        """Deliver a mail to the server. Raises `CloudError` if it is not taken for every recipient."""
        settings = self._settings
        place = f"the mail server {settings.host}:{settings.port}"
        try:
            with self._connect() as server:
                if settings.user:
                    server.login(settings.user, self._password)
                refused = server.send_message(message)
        except (smtplib.SMTPException, OSError) as error:
            raise CloudError(f"{place}: {type(error).__name__}: {str(error)[:200]}") from error
        if refused:
            raise CloudError(f"{place} refused {', '.join(sorted(refused))}")

    def _connect(self) -> smtplib.SMTP:
        settings = self._settings
        if settings.security == "tls":
            return smtplib.SMTP_SSL(
                settings.host, settings.port, timeout=settings.timeout_s, context=self._tls
            )
        server = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_s)
        try:
            if settings.security == "starttls":
                server.starttls(context=self._tls)
        except BaseException:
            server.close()
            raise
        return server


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"apps.retail.smtp.password_file: {path}: {error}") from error
