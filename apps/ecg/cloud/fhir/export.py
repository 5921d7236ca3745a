"""Export to the hospital's FHIR server: every hour and day of a patient, at least once, idempotently.

``ecg_pending`` lists what is due: completed hours and days whose revision is above the one acknowledged by
the hospital. Each is sent as transaction bundles that can be repeated without duplicates: immutable resources
are created with ``ifNoneExist`` on their identifier, mutable ones updated by identifier, a Provenance (which
has none) is put under its own id. The revision is marked as taken afterwards; a crash or a lost response in
between repeats the same bundles.

- A server that is unreachable, fails (5xx, 408, 425, 429) or denies access (401, 403, 404, 405) is retried
  with the backoff of periodic tasks, oldest span first, and not before its ``Retry-After`` (at most
  `WAIT_LIMIT_S`).
- A rejected bundle (other 4xx) is deferred by an hour and the next one is sent; its row keeps the reason.
- A day is sent after its hours, so that the references of its report resolve.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import msgspec
import sqlalchemy as sa
import structlog
from sqlmodel import Session, col

from apps.ecg.cloud.fhir import api
from apps.ecg.cloud.fhir.resources import SHIFTED_NS
from apps.ecg.cloud.fhir.transactions import bundles_of, contents_of
from apps.ecg.cloud.tables import DAY_NS, HOUR_NS, Pending
from common.app.cloud import CloudContext, PeriodicTask
from common.config.loader import convert
from common.errors import CloudError, ConfigError

_log = structlog.get_logger("edgeloop.ecg.fhir")
TOKEN_VARIABLE = "FHIR_EXPORT_TOKEN"  # noqa: S105
SPANS_A_TURN = 20
DEFER_NS = HOUR_NS
WAIT_LIMIT_S = 24 * 3600
"""Upper bound of a server's ``Retry-After``."""
_AGAIN = frozenset({401, 403, 404, 405, 408, 425, 429})
_LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|::1")


class EcgCloudSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the ECG app's cloud side (``apps.ecg``)."""

    fhir_export_url: str = ""
    """Base URL of the hospital's FHIR R4 server; empty disables the export. Token: FHIR_EXPORT_TOKEN."""
    fhir_export_every_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    """Interval of the export."""
    fhir_export_settle_s: Annotated[float, msgspec.Meta(ge=0)] = 300.0
    """Delay from the end of an hour or a day to its first export; later changes are exported again."""
    fhir_export_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 15.0
    """Timeout of a request."""
    fhir_public_metadata: bool = False
    """Whether ``/fhir/metadata`` (the capability statement, no patient data) is readable without a token."""


class Refused(Exception):
    """The server rejected a bundle."""


@dataclass(frozen=True, slots=True)
class Span:
    """A revision of an hour or a day that is due for export."""

    patient: str
    seconds: int
    began_ns: int
    revision: int


def export_tasks(context: CloudContext) -> Sequence[PeriodicTask]:
    """The task that exports, if the settings name a server. Raises `ConfigError`."""
    settings = convert(EcgCloudSettings, context.settings, "apps.ecg")
    if not settings.fhir_export_url:
        return ()
    token = os.environ.get(TOKEN_VARIABLE, "")
    _check(settings.fhir_export_url, token)
    if not api.is_installed():
        raise ConfigError(f"apps.ecg.fhir_export_url is set, but {api.MISSING}")
    export = Export(context.session, context.clock, settings, token)
    return (PeriodicTask("fhir-export", settings.fhir_export_every_s, export.turn),)


class Export:
    """Exports due spans to one server."""

    def __init__(
        self, session: Callable[..., Any], clock: Callable[[], int], settings: EcgCloudSettings, token: str
    ) -> None:
        self._session = session
        self._clock = clock
        self._settle_ns = round(settings.fhir_export_settle_s * 1e9)
        self._url = settings.fhir_export_url.rstrip("/")
        self._timeout_s = settings.fhir_export_timeout_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._not_before_ns = 0

    def turn(self) -> int:
        """Export up to `SPANS_A_TURN` due spans; the number taken. Raises `CloudError` for a retry."""
        taken = 0
        if (
            0 < self._not_before_ns - self._clock() <= WAIT_LIMIT_S * 10**9
        ):  # beyond it, the clock was set back
            return taken
        with httpx.Client(headers=self._headers, timeout=self._timeout_s, trust_env=False) as client:
            for span in self._due():
                try:
                    for bundle in self._bundles(span):
                        self._send(client, bundle)
                except (Refused, ValueError) as refusal:  # ValueError: a resource is invalid
                    self._defer(span, str(refusal))
                    continue
                self._mark(span)
                taken += 1
        return taken

    def _due(self) -> list[Span]:
        now_ns = self._clock() - self._settle_ns
        with self._session(read_only=True) as session:
            hours = _spans(session, HOUR_NS // 10**9, now_ns, self._clock(), SPANS_A_TURN)
            days = _spans(session, DAY_NS // 10**9, now_ns, self._clock(), SPANS_A_TURN - len(hours))
            return hours + [day for day in days if not _waits(session, day)]

    def _bundles(self, span: Span) -> Iterator[bytes]:
        with self._session(read_only=True) as session:
            contents = contents_of(session, span.patient, span.began_ns, span.seconds, self._clock())
        yield from bundles_of(contents)

    def _send(self, client: Any, bundle: bytes) -> None:
        kind = {"Content-Type": f"{api.MEDIA_TYPE}; charset=utf-8", "Accept": api.MEDIA_TYPE}
        try:
            answer = client.post(self._url, content=bundle, headers=kind)
        except httpx.HTTPError as error:
            raise CloudError(f"no response from the FHIR server: {type(error).__name__}") from None
        if answer.status_code >= 500 or answer.status_code in _AGAIN or answer.is_redirect:
            wait_s = _retry_after_s(answer.headers, self._clock())
            self._not_before_ns = self._clock() + round(wait_s * 1e9)
            wait = f" with Retry-After: {wait_s:.0f} s" if wait_s else ""
            raise CloudError(f"the FHIR server answered {answer.status_code}{wait}", answer.status_code)
        if not answer.is_success:
            raise Refused(f"{answer.status_code}: {_diagnostics(answer.content)}")
        _check_taken(bundle, answer.content)

    def _mark(self, span: Span) -> None:
        self._update(span, taken_revision=span.revision, refusals=0, problem="", not_before_ns=0)

    def _defer(self, span: Span, reason: str) -> None:
        _log.warning(
            "FHIR server rejected a bundle", patient=span.patient, began_ns=span.began_ns, reason=reason
        )
        later = self._clock() + DEFER_NS
        self._update(span, refusals=col(Pending.refusals) + 1, problem=reason[:500], not_before_ns=later)

    def _update(self, span: Span, **values: Any) -> None:
        with self._session() as session:
            session.execute(
                sa.update(Pending)
                .where(col(Pending.patient) == span.patient, col(Pending.seconds) == span.seconds)
                .where(col(Pending.began_ns) == span.began_ns, col(Pending.taken_revision) < span.revision)
                .values(**values)
            )
            session.commit()


def _spans(session: Session, seconds: int, ended_by_ns: int, now_ns: int, limit: int) -> list[Span]:
    query = (
        sa.select(Pending)
        .where(sa.text("revision > taken_revision"), col(Pending.seconds) == seconds)
        .where(col(Pending.not_before_ns) <= now_ns)
        .where(
            sa.or_(
                col(Pending.began_ns) <= ended_by_ns - seconds * 10**9,
                col(Pending.began_ns) > now_ns + SHIFTED_NS,
            )
        )
        .order_by(col(Pending.began_ns), col(Pending.patient))
        .limit(limit)
    )
    return [Span(row.patient, row.seconds, row.began_ns, row.revision) for row in session.scalars(query)]


def _waits(session: Session, day: Span) -> bool:
    """Whether an hour of a day is not yet taken."""
    hours = sa.select(col(Pending.patient)).where(
        col(Pending.patient) == day.patient,
        col(Pending.seconds) == HOUR_NS // 10**9,
        col(Pending.began_ns) >= day.began_ns,
        col(Pending.began_ns) < day.began_ns + DAY_NS,
        col(Pending.revision) > col(Pending.taken_revision),
    )
    return session.execute(hours.limit(1)).first() is not None


# ------------------------------------------------------------------------------------------ answers


def _retry_after_s(headers: Mapping[str, str], now_ns: int) -> float:
    """``Retry-After`` in seconds, 0 if absent or malformed.

    A date is measured from the answer's own ``Date``, so that two clocks need not agree.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return float(min(int(text[:9]), WAIT_LIMIT_S))
    until_s, sent_s = (_http_date_s(each) for each in (text, headers.get("Date", "")))
    if until_s is None:
        return 0.0
    return min(max(until_s - (now_ns / 1e9 if sent_s is None else sent_s), 0.0), float(WAIT_LIMIT_S))


def _http_date_s(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


class _Response(msgspec.Struct):
    status: str = ""


class _Entry(msgspec.Struct):
    response: _Response | None = None


class _TransactionResponse(msgspec.Struct):
    type: str = ""
    entry: list[_Entry] = []


class _Sent(msgspec.Struct):
    entry: list[msgspec.Raw]


def _check_taken(bundle: bytes, body: bytes) -> None:
    """Check that the response confirms every entry. Raises `CloudError`."""
    try:
        answer = msgspec.json.decode(body, type=_TransactionResponse)
    except msgspec.MsgspecError:
        raise CloudError("the FHIR server's response to a transaction is not a bundle") from None
    sent = len(msgspec.json.decode(bundle, type=_Sent).entry)
    good = [each for each in answer.entry if each.response and each.response.status.startswith("2")]
    if answer.type != "transaction-response" or len(good) != sent:
        raise CloudError(f"the FHIR server confirmed {len(good)} of {sent} entries of a transaction")


def _diagnostics(body: bytes) -> str:
    try:
        outcome = msgspec.json.decode(body, type=dict[str, Any])
        texts = [str(issue.get("diagnostics", issue.get("code", ""))) for issue in outcome["issue"][:3]]
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError):
        return "no diagnostics"
    return "; ".join(texts)[:400]


def _check(url: str, token: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ConfigError(
            "apps.ecg.fhir_export_url must be the http(s) URL of a FHIR server, without user or query"
        )
    if token and parts.scheme == "http" and not _LOOPBACK.fullmatch(parts.hostname):
        raise ConfigError(
            f"apps.ecg.fhir_export_url is plain http: {TOKEN_VARIABLE} is sent to https or loopback only"
        )
    if not token.isascii() or any(mark.isspace() for mark in token):
        raise ConfigError(f"{TOKEN_VARIABLE} is not a bearer token: ASCII without spaces")
