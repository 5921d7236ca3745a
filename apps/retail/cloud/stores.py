"""Stores: settings of each site, its opening hours, and its local days and hours.

Counts are stored by UTC quarters of an hour, of which every time zone's days and hours are made; so late data
and days of 23 or 25 hours fall into the right ones. The settings are ``apps.retail`` of the cloud::

    [apps.retail.stores.berlin-1]
    time_zone = "Europe/Berlin"
    opening = { mon = ["09:00-20:00"], sat = ["10:00-18:00"] }
    entrances = ["door/door", "yard/gate"]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apps.retail.cloud.forecast.public_holidays import public_holidays
from apps.retail.cloud.opening import Calendar, parse_clock
from apps.retail.cloud.settings import RetailCloudSettings, StoreSettings
from common.config.loader import convert
from common.errors import ConfigError

QUARTER_NS = 15 * 60 * 10**9
HOUR_NS = 4 * QUARTER_NS
HOLIDAY_YEARS = range(2019, 2041)
"""Years whose public holidays are known to a store."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A part of a local day, or several days: UTC nanoseconds, and the local begin with its offset."""

    begin_ns: int
    end_ns: int
    local: str

    def quarters(self) -> range:
        """The begins of its quarters of an hour."""
        return range(self.begin_ns, self.end_ns, QUARTER_NS)


@dataclass(frozen=True, slots=True)
class _Store:
    """Parsed settings of a store."""

    settings: StoreSettings
    zone: ZoneInfo
    calendar: Calendar
    reset_minute: int
    holidays: Mapping[date, str]

    @staticmethod
    def parsed(settings: StoreSettings, where: str) -> _Store:
        """Raises `ConfigError`."""
        holidays = public_holidays(settings.holidays, HOLIDAY_YEARS)
        closed = frozenset() if settings.open_on_holidays else frozenset(holidays)
        return _Store(
            settings,
            parse_zone(settings.time_zone, where),
            Calendar(settings.opening, settings.special_days, closed, where),
            parse_clock(settings.reset_at, f"{where}.reset_at"),
            holidays,
        )


class Stores:
    """The stores of a cloud with their time zones and opening hours."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Raises `ConfigError` for wrong settings, such as an unknown time zone."""
        self.settings = convert(RetailCloudSettings, settings, "apps.retail")
        self._stores = {
            site: _Store.parsed(store, f"apps.retail.stores.{site}")
            for site, store in self.settings.stores.items()
        }
        self._default = _Store.parsed(StoreSettings(), "apps.retail.stores")

    def __iter__(self) -> Iterator[str]:
        """The sites with settings."""
        return iter(self._stores)

    def of(self, site: str) -> StoreSettings:
        """The settings of a site; the defaults where it has none."""
        return self._of(site).settings

    def title(self, site: str) -> str:
        return self.of(site).title or site

    def calendar(self, site: str) -> Calendar:
        return self._of(site).calendar

    def zone(self, site: str) -> ZoneInfo:
        return self._of(site).zone

    def holidays(self, site: str) -> Mapping[date, str]:
        """Public holidays by day; none without a region."""
        return self._of(site).holidays

    def today(self, site: str, now_ns: int) -> date:
        """The local day of a store."""
        return self.local(site, now_ns).date()

    def local(self, site: str, time_ns: int) -> datetime:
        """A time in the time zone of a store."""
        return datetime.fromtimestamp(time_ns // 10**9, self._of(site).zone)

    def is_open(self, site: str, time_ns: int) -> bool:
        """Whether a store is open at a time."""
        store = self._of(site)
        return store.calendar.always_open or store.calendar.is_open(self.local(site, time_ns))

    def is_closed_on(self, site: str, day: date) -> bool:
        """Whether a store has no opening hours that begin on a day."""
        return not self._of(site).calendar.spans_of(day)

    def reset_ns(self, site: str, now_ns: int) -> int:
        """The last time at which a store's occupancy began again."""
        store = self._of(site)
        today = self.today(site, now_ns)
        return max(
            at_ns
            for day in (today - timedelta(days=1), today)
            if (at_ns := _ns(_at(day, store.reset_minute, store.zone))) <= now_ns
        )

    def day(self, site: str, day: date) -> Bucket:
        """A local day of a store, of 23, 24 or 25 hours."""
        return self.days(site, day, 1)

    def days(self, site: str, day: date, count: int) -> Bucket:
        """``count`` local days from ``day`` on as one."""
        zone = self._of(site).zone
        begin, end = (_at(each, 0, zone) for each in (day, day + timedelta(days=count)))
        return Bucket(_ns(begin), _ns(end), begin.isoformat())

    def hours(self, site: str, day: date) -> Iterator[Bucket]:
        """The hours of a local day; an hour that the clock goes through twice is there twice."""
        return self.parts(site, day, HOUR_NS)

    def parts(self, site: str, day: date, length_ns: int) -> Iterator[Bucket]:
        """Parts of a local day from its begin on."""
        whole = self.day(site, day)
        for begin_ns in range(whole.begin_ns, whole.end_ns, length_ns):
            local = self.local(site, begin_ns).isoformat()
            yield Bucket(begin_ns, min(begin_ns + length_ns, whole.end_ns), local)

    def _of(self, site: str) -> _Store:
        return self._stores.get(site, self._default)


def _at(day: date, minute: int, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=zone)


def parse_zone(name: str, where: str) -> ZoneInfo:
    """The time zone of a name. Raises `ConfigError`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"{where}.time_zone: there is no time zone {name!r}; names are such as Europe/Berlin"
        ) from error


def _ns(time: datetime) -> int:
    return int(time.timestamp()) * 10**9
