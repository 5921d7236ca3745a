"""Quantities as text, the same on the cloud's own pages and on those of apps."""

from __future__ import annotations

NONE = "–"
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(bytes_: float | None) -> str:
    """Bytes in decimal units: ``82 kB``, ``4.6 MB``."""
    if bytes_ is None:
        return NONE
    value, unit = float(bytes_), 0
    while abs(value) >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 or abs(value) >= 99.5 else 1
    return f"{value:.{digits}f} {_UNITS[unit]}"
