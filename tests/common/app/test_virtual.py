"""The paced source and the parameters of virtual sources."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

from common.app.edge import Reading
from common.app.virtual import PacedSource, check_parameters, seconds, whole_number
from common.errors import ConfigError


def reading_at(position: int, captured_ns: int) -> Reading:
    return Reading("m", captured_ns, position, np.array([float(position)]))


def test_a_source_goes_on_after_a_position_and_ends_with_its_count() -> None:
    source = PacedSource(lambda: reading_at, 1.0, 0.0, count=5)
    assert [reading.position for reading in source.readings(None)] == [0, 1, 2, 3, 4]
    assert [reading.position for reading in source.readings(2)] == [3, 4]


def test_readings_are_paced_by_period_and_speed() -> None:
    source = PacedSource(lambda: reading_at, 1.0, 50.0)
    begin = time.monotonic()
    list(itertools.islice(source.readings(None), 6))
    assert time.monotonic() - begin >= 5 / 50


def test_close_ends_a_wait_from_another_thread() -> None:
    source = PacedSource(lambda: reading_at, 3600.0, 1.0)
    found: list[Reading] = []
    thread = threading.Thread(target=lambda: found.extend(source.readings(None)))
    thread.start()
    source.close()
    thread.join(60)
    assert not thread.is_alive()


def test_each_iteration_has_a_function_of_its_own() -> None:
    opened: list[int] = []

    def open_readings():
        opened.append(1)
        return reading_at

    source = PacedSource(open_readings, 1.0, 0.0, count=1)
    list(source.readings(None))
    list(source.readings(None))
    assert len(opened) == 2


def test_an_unknown_parameter_is_refused_with_those_that_there_are() -> None:
    check_parameters("virtual:m", {"seed": "1", "speed": "2"}, {"seed": ""})
    with pytest.raises(ConfigError, match="virtual:m has no parameter 'sed'; it has seed"):
        check_parameters("virtual:m", {"sed": "1"}, {"seed": ""})


@pytest.mark.parametrize("text", ["-1", "1.5", "x", ""])
def test_a_bad_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a whole number of at least 0"):
        whole_number({"seed": text}, "seed", 0, 0)


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "1e7"])
def test_a_bad_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a number of seconds above 0"):
        seconds({"period_s": text}, "period_s", 1.0)
