"""Channels of an app's readings: their order and units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from common.app.edge import Reading
from common.errors import ReadingError


class Channels:
    """Names of the values of a reading in order, with their units.

    >>> channels = Channels({"vibration": "mm/s", "temperature": "°C"})
    >>> channels.names
    ('vibration', 'temperature')
    """

    def __init__(self, units: Mapping[str, str]) -> None:
        self.names = tuple(units)
        self.units = dict(units)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def title(self, name: str) -> str:
        """A channel with its unit, for pages."""
        unit = self.units[name]
        return f"{name} ({unit})" if unit else name

    def values(self, reading: Reading) -> NDArray[np.float64]:
        """The reading's row of values in this order, ``(channels,)``, whatever order the source has.

        Raises `ReadingError` for a row that lacks a channel or has a value that is not finite.
        """
        names = reading.channels or self.names
        where = f"reading {reading.position} of {reading.subject}"
        if reading.values.shape != (len(names),) or reading.values.dtype.kind not in "fiu":
            raise ReadingError(
                f"{where} has shape {reading.values.shape}, not one number for each of {names}"
            )
        lacking = [name for name in self.names if name not in names]
        if lacking:
            raise ReadingError(f"{where} lacks the channels {', '.join(lacking)}")
        values = np.asarray(reading.values, np.float64)
        if names != self.names:
            values = values[[names.index(name) for name in self.names]]
        if not np.isfinite(values).all():
            bad = ", ".join(
                name for name, value in zip(self.names, values, strict=True) if not np.isfinite(value)
            )
            raise ReadingError(f"{where} has no finite value of {bad}")
        return values
