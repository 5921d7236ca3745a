"""Settings of the retail app in the cloud (``apps.retail``)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from apps.retail.cloud.opening import OpeningHours, Spans

MIN_KEEP_DAYS = 14
"""Counts that come later than this would find their minutes deleted."""
Address = Annotated[str, msgspec.Meta(max_length=254, pattern=r"^[^@\s,<>]+@[^@\s,<>]+$")]
"""An e-mail address."""
ReportName = Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
LinePath = Annotated[str, msgspec.Meta(min_length=3, max_length=130, pattern="^.+/.+$")]
"""A line of a camera: ``camera/line``."""
LinePaths = Annotated[list[LinePath], msgspec.Meta(max_length=64)]


class StoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of one store, which is a site of the fleet."""

    title: Annotated[str, msgspec.Meta(max_length=100)] = ""
    """Name for people; by default that of the site."""
    time_zone: str = "UTC"
    """Name in the IANA time zone database, such as Europe/Berlin."""
    opening: OpeningHours | None = None
    """Opening hours by weekday (``mon`` to ``sun``), in whole quarters of an hour; absent: always open."""
    special_days: Annotated[dict[str, Spans], msgspec.Meta(max_length=1000)] = {}
    """Opening hours of single days, such as ``2026-12-24``; an empty list: closed."""
    holidays: Annotated[str, msgspec.Meta(max_length=20)] = ""
    """Region of the public holidays, such as DE or DE-BE, on which the store is closed; they also improve the
    forecast. Needs the extra ``forecast``."""
    open_on_holidays: bool = False
    """Whether the store has its normal opening hours on public holidays."""
    entrances: LinePaths = []
    """All lines that are entrances, as ``camera/line``: one that does not report makes the count incomplete.
    Empty: those that reported in the last 7 days."""
    passers_by: LinePaths = []
    """Lines outside of the store, as ``camera/line``, whose crossings in both directions are people who pass
    by: the base of the capture rate. They are no entrances in the camera's layout."""
    max_people: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Most people in the store before an alarm is raised; 0 for no limit."""
    reset_at: str = "04:00"
    """Local time in whole quarters of an hour at which the occupancy begins again at 0."""


class SmtpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The mail server for reports."""

    host: str = ""
    """Host; required for scheduled reports."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 587
    """Port."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """``starttls``, ``tls`` from the first byte, or ``none``: no login, for a relay on the same host."""
    ca_file: str = ""
    """Certificate authority (PEM) of the server; empty trusts the system's authorities."""
    user: str = ""
    """User of the login; empty for none."""
    password_file: str = ""
    """File with the password."""
    sender: Address = "edgeloop@localhost"
    """Address in From."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=300)] = 30.0
    """Timeout of a reply of the server."""


class ReportSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A report that is mailed."""

    to: Annotated[list[Address], msgspec.Meta(min_length=1, max_length=50)]
    """Addresses of the recipients."""
    every: Literal["day", "week"] = "day"
    """``day``: the day before; ``week``: on Mondays, Monday to Sunday before."""
    at: str = "06:00"
    """Local time of the mail in whole quarters of an hour."""
    time_zone: str = "UTC"
    """Time zone of ``at`` and of the days that are chosen; each store's days are in its own."""
    stores: Annotated[list[str], msgspec.Meta(max_length=1000)] = []
    """Sites; empty: all stores."""


class RetailCloudSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the retail app in the cloud."""

    stores: dict[str, StoreSettings] = {}
    """Stores by site."""
    keep_minutes_days: Annotated[int, msgspec.Meta(ge=0, le=36_500)] = 400
    """Age in days from which minutes are deleted, at least 14; quarters of an hour are kept. 0: never."""
    smtp: SmtpSettings = SmtpSettings()
    """Mail server."""
    teachers: str = ""
    """Folder with the detectors that propose labels on the page Picture review: ``yolox_nano.onnx``,
    ``picodet_s_416_coco.onnx`` or both, which then have to agree. Empty: proposals are the node's own."""
    reports: Annotated[dict[ReportName, ReportSettings], msgspec.Meta(max_length=100)] = {}
    """Mailed reports by name."""

    def __post_init__(self) -> None:
        if 0 < self.keep_minutes_days < MIN_KEEP_DAYS:
            raise ValueError(f"keep_minutes_days is {self.keep_minutes_days}; at least {MIN_KEEP_DAYS}, or 0")
