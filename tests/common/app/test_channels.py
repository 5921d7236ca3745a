"""Channels: order, units, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from common.app.channels import Channels
from common.app.edge import Reading
from common.errors import ReadingError

CHANNELS = Channels({"vibration": "mm/s", "phase": ""})


def reading(values: list[float], channels: tuple[str, ...] = ()) -> Reading:
    return Reading("pump", 1, 7, np.array(values), channels)


def test_values_come_in_the_declared_order_whatever_the_source_has() -> None:
    assert CHANNELS.values(reading([1.0, 2.0])).tolist() == [1.0, 2.0]
    given = reading([9.0, 2.0, 1.0], ("other", "phase", "vibration"))
    assert CHANNELS.values(given).tolist() == [1.0, 2.0]


def test_a_channel_is_titled_with_its_unit() -> None:
    assert [CHANNELS.title(name) for name in CHANNELS] == ["vibration (mm/s)", "phase"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (reading([1.0]), "shape"),
        (reading([1.0, 2.0, 3.0]), "shape"),
        (reading([1.0], ("vibration",)), "lacks the channels phase"),
        (reading([1.0, np.nan]), "no finite value of phase"),
        (Reading("pump", 1, 7, np.array(["1", "2"])), "shape"),
    ],
)
def test_an_unusable_row_is_refused_by_position_and_subject(given: Reading, reason: str) -> None:
    with pytest.raises(ReadingError, match=rf"reading 7 of pump.*{reason}"):
        CHANNELS.values(given)
