"""Public holidays of a country or a part of it, by the library ``holidays`` (extra ``forecast``)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from common.errors import ConfigError

MISSING = "the holidays of {} need the library holidays: pip install 'edgeloop[forecast]'"


def public_holidays(region: str, years: Iterable[int]) -> dict[date, str]:
    """Names of the public holidays of ``region``, such as ``DE`` or ``DE-BE``; none for an empty one.

    Raises `ConfigError` for an unknown region, and without the library.
    """
    if not region:
        return {}
    try:
        import holidays  # pyright: ignore[reportMissingImports]: extra forecast
    except ImportError as error:
        raise ConfigError(MISSING.format(region)) from error
    country, _, part = region.partition("-")
    try:
        found = holidays.country_holidays(country, subdiv=part or None, years=list(years))
    except NotImplementedError as error:
        raise ConfigError(f"no holidays of {region!r} are known; regions are such as DE or DE-BE") from error
    return dict(sorted(found.items()))
