"""The virtual camera as a source."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

pytest.importorskip("cv2")

from common.app.edge import Reading
from common.errors import ConfigError
from common.messages import parse_time
from hardware.virtual_camera.source import open_camera, read_options

SMALL = {"size": "160x120", "fps": "5", "seed": "3"}


def readings(count: int, after: int | None = None, **parameters: str) -> list[Reading]:
    source = open_camera("entrance", SMALL | parameters, speed=0.0)
    found = list(islice(source.readings(after), count))
    source.close()
    return found


def test_readings_are_frames_of_the_named_camera() -> None:
    first = readings(2, name="door")[0]
    assert (first.subject, first.position, first.values.shape) == ("door", 0, (120, 160, 3))
    source = open_camera("entrance", SMALL, speed=0.0)
    assert source.virtual
    assert not source.live


def test_a_source_goes_on_after_a_position() -> None:
    through, resumed = readings(8), readings(3, after=4)
    assert [reading.position for reading in resumed] == [5, 6, 7]
    assert all(np.array_equal(a.values, b.values) for a, b in zip(through[5:], resumed, strict=True))


def test_frames_of_a_camera_with_a_start_have_the_times_of_a_recording() -> None:
    found = readings(2, after=4, start="2026-07-01T10:00:00Z")
    assert [reading.captured_ns for reading in found] == [
        parse_time("2026-07-01T10:00:00Z") + n * 200_000_000 for n in (5, 6)
    ]
    assert all(reading.recorded for reading in found)


def test_no_frames_come_while_the_camera_is_gone() -> None:
    assert [reading.position for reading in readings(6, fault="gone:0.4-1")] == [0, 1, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"sed": "1"}, "no parameter 'sed'"),
        ({"fps": "0"}, "fps=0"),
        ({"size": "10x10"}, "size=10x10"),
        ({"people": "many"}, "people=many"),
        ({"light": "fog:60"}, "fog:60-120"),
        ({"light": "dusk"}, "'dusk' is none of day, fog, night"),
        ({"fault": "black:9-3"}, "no time range"),
        ({"effects": "some"}, "effects=some"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read_options("entrance", parameters)


def test_an_unknown_scene_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="entrance, aisle, crowd, queue, doorway, road"):
        read_options("park", {})
