"""Contract of sources over files, found by the entry points: the same list of checks for each.

A kind is built here from nothing; a source that is registered and has no builder fails, so that a new one
gets one. Sources without files (``ble``, live cameras) have these checks where their devices are played
(``test_ble.py``, ``camera/test_live.py``).
"""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.app.edge import Reading, Source
from common.app.spec import installed_apps
from common.clock import anchored_clock
from common.config.node import NodeSettings
from common.edge.node import Node
from common.edge.sensing.recording import record
from common.edge.sensing.sources import GROUP, open_source
from common.errors import ReadingError, SourceError
from tests.builders import COLUMNS, make_app
from tests.waiting import wait_for

COUNT = 12
WITHOUT_FILES = {"ble", "http", "https", "rtsp", "usb"}
WITH_OPENCV = {"file", "folder"}


def write_csv(folder: Path, seed: int) -> str:
    rows = np.random.default_rng(seed).uniform(-1, 1, (COUNT, 4))
    (folder / "run.csv").write_text(
        ",".join(COLUMNS) + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows.tolist())
    )
    return f"csv:{folder}/run.csv"


def write_replay(folder: Path, seed: int) -> str:
    shutil.rmtree(folder / "recorded", ignore_errors=True)
    (folder / "recorded").mkdir()
    for number, row in enumerate(np.random.default_rng(seed).uniform(-1, 1, (COUNT, 4)), 1):
        record(folder / "recorded", Reading("pump", number * 10**9, number, row, tuple(COLUMNS)))
    return f"replay:{folder}/recorded"


def write_wfdb(folder: Path, seed: int) -> str:
    samples = np.random.default_rng(seed).integers(-900, 900, COUNT * 100, dtype="<i2")
    (folder / "r.hea").write_text(f"r 1 100 {samples.size}\nr.dat 16 200/mV 12 0 0 0 0 II\n")
    (folder / "r.dat").write_bytes(samples.tobytes())
    return f"wfdb:{folder}/r"


def write_edf(folder: Path, seed: int) -> str:
    samples = np.random.default_rng(seed).integers(-900, 900, COUNT * 100, dtype="<i2")
    fields = [("ECG II", 16), ("", 80), ("uV", 8), ("-3277", 8), ("3276.8", 8), ("-32768", 8), ("32767", 8)]
    fields += [("", 80), ("100", 8), ("", 32)]
    head = "0".ljust(8) + "X X X X".ljust(80) + "Startdate X X X X".ljust(80) + "02.03.2408.09.10"
    head += "512".ljust(8) + "".ljust(44) + str(COUNT).ljust(8) + "1".ljust(8) + "1".ljust(4)
    head += "".join(text.ljust(width) for text, width in fields)
    (folder / "r.edf").write_bytes(head.encode("ascii") + samples.tobytes())
    return f"edf:{folder}/r.edf"


def write_video(folder: Path, seed: int) -> str:
    cv2: Any = import_module("cv2")
    path = folder / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    for frame in np.random.default_rng(seed).integers(0, 255, (COUNT, 48, 64, 3), dtype=np.uint8):
        writer.write(frame)
    writer.release()
    return f"file:{path}"


def write_pictures(folder: Path, seed: int) -> str:
    (folder / "pictures").mkdir(exist_ok=True)
    pictures = np.random.default_rng(seed).integers(0, 255, (COUNT, 8, 8, 3), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        head = b"P6 8 8 255\n"
        (folder / "pictures" / f"{number:03}.ppm").write_bytes(head + picture.tobytes())
    return f"folder:{folder}/pictures"


WRITERS: dict[str, Callable[[Path, int], str]] = {
    "csv": write_csv, "replay": write_replay, "wfdb": write_wfdb, "edf": write_edf,
    "file": write_video, "folder": write_pictures,
}  # fmt: skip
SCHEMES = sorted(entry.name for entry in entry_points(group=GROUP) if entry.name not in WITHOUT_FILES)
CROWDED = ("aisle", "crowd", "queue")
"""Scenes that take seconds to render."""
KINDS = [
    pytest.param(name, kind, marks=[pytest.mark.slow] if kind in CROWDED else [])
    for name, spec in sorted(installed_apps().items())
    for kind in spec.virtual_kinds
]


def opened(uri: str, folder: Path, speed: float = 0.0) -> Source:
    return open_source(uri, make_app(folder / "starter"), speed, folder)


def read(uri: str, folder: Path, after: int | None = None) -> list[Reading | ReadingError]:
    return list(opened(uri, folder).readings(after))


def good(items: Sequence[Reading | ReadingError]) -> list[Reading]:
    return [item for item in items if isinstance(item, Reading)]


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    if request.param in WITH_OPENCV:
        pytest.importorskip("cv2")
    return request.param


def test_every_position_is_behind_the_one_before_and_after_gives_exactly_the_rest(
    scheme: str, tmp_path: Path
) -> None:
    uri = WRITERS[scheme](tmp_path, 1)
    whole = good(read(uri, tmp_path))
    positions = [reading.position for reading in whole]
    assert len(whole) == COUNT
    assert positions == sorted(set(positions))
    for number in (0, 5, COUNT - 1):
        rest = good(read(uri, tmp_path, positions[number]))
        assert [reading.position for reading in rest] == positions[number + 1 :]
        for before, again in zip(whole[number + 1 :], rest, strict=True):
            assert np.array_equal(before.values, again.values)


def test_the_times_of_readings_never_go_back(scheme: str, tmp_path: Path) -> None:
    times = [reading.captured_ns for reading in good(read(WRITERS[scheme](tmp_path, 1), tmp_path))]
    assert times == sorted(times)


def test_what_is_cut_off_is_reported_and_the_rest_is_read_or_it_is_refused(
    scheme: str, tmp_path: Path
) -> None:
    if scheme == "file":
        pytest.skip("the end of a container is no frame: camera/test_recorded.py cuts off frames")
    uri = WRITERS[scheme](tmp_path, 1)
    file = max(
        (file for file in tmp_path.rglob("*") if file.is_file() and "starter" not in file.parts),
        key=lambda file: (file.stat().st_size, file.name),
    )
    file.write_bytes(file.read_bytes()[:-5])
    try:
        items = read(uri, tmp_path)
    except SourceError:
        return  # Refused at open.
    assert any(isinstance(item, ReadingError) for item in items)
    assert COUNT - 2 <= len(good(items)) <= COUNT


def test_closing_ends_the_iteration_from_another_thread(scheme: str, tmp_path: Path) -> None:
    source = opened(WRITERS[scheme](tmp_path, 1), tmp_path, speed=0.01)
    items: list[Reading | ReadingError] = []
    thread = threading.Thread(target=lambda: items.extend(source.readings(None)), daemon=True)
    thread.start()
    source.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(items) < COUNT


def test_what_is_not_there_is_refused_by_name(scheme: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="absent"):
        opened(f"{scheme}:{tmp_path}/absent", tmp_path)


def test_an_option_that_there_is_not_is_refused(scheme: str, tmp_path: Path) -> None:
    if scheme == "replay":
        pytest.skip("it has no options")
    with pytest.raises(SourceError, match="colour"):
        opened(f"{WRITERS[scheme](tmp_path, 1)}?colour=red", tmp_path)


def run_node(uri: str, folder: Path) -> tuple[int, list[int]]:
    """Run a node once over the source; its exit code and the positions that it has ever been given."""
    spec = make_app(folder / "starter")
    settings = NodeSettings(app=spec.name, source=uri, data=str(folder / "data"), speed=0.0, profile="cpu")
    node = Node(settings, None, spec, once=True)
    given: list[int] = []
    body = node.source.readings

    def watched(after: int | None):
        for item in body(after):
            if isinstance(item, Reading):
                given.append(item.position)
            yield item

    node.source.readings = watched
    node.start()
    wait_for(node.ended.is_set, "the source has ended")
    assert node.health.healthz()[1]["source_state"] == "ended"
    return node.stop(), given


def test_another_recording_at_the_same_place_is_read_from_its_start(scheme: str, tmp_path: Path) -> None:
    uri = WRITERS[scheme](tmp_path, 1)
    _, first = run_node(uri, tmp_path)
    _, again = run_node(uri, tmp_path)
    assert (len(first), again) == (COUNT, [])
    WRITERS[scheme](tmp_path, 2)
    _, other = run_node(uri, tmp_path)
    assert len(other) == COUNT
    assert other[0] > first[-1] or scheme != "csv"
    _, once_more = run_node(uri, tmp_path)
    assert once_more == []
    positions = [*first, *other]
    assert positions == sorted(set(positions))


@pytest.mark.parametrize(("app", "kind"), KINDS)
def test_a_virtual_sensor_counts_on_and_ends_when_it_is_closed(app: str, kind: str) -> None:
    spec = installed_apps()[app]
    source = spec.load_virtual()(kind, {"seed": "3"}, 0.0)
    whole = list(itertools.islice(source.readings(None), 30))
    positions = [reading.position for reading in good(whole)]
    assert positions == sorted(set(positions))
    assert len(positions) == 30
    source.close()
    slow = spec.load_virtual()(kind, {"seed": "3"}, 0.001)
    items: list[Reading | ReadingError] = []
    thread = threading.Thread(target=lambda: items.extend(slow.readings(None)), daemon=True)
    thread.start()
    slow.close()
    thread.join(30)
    assert not thread.is_alive()


YEARS_NS = 8 * 365 * 86_400 * 10**9
SECOND_NS = 10**9
FAST = {"turbofan": {"period_s": "0.01"}, "patient": {"chunk_s": "0.02"}}
FAST_CAMERA = {"fps": "50", "size": "64x64", "effects": "plain"}


class WallClock:
    """The machine's clock, set at will."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shift_ns = 0
        real_ns = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real_ns() + self.shift_ns)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    return WallClock(monkeypatch)


def end_ns(reading: Reading) -> int:
    """Time of the last value of a reading; a frame has one."""
    signal = reading.values.ndim < 3 and reading.rate_hz
    length_s = len(reading.values) / signal if signal else 0.0
    return reading.captured_ns + round(length_s * SECOND_NS)


@pytest.mark.parametrize("shift_ns", [0, YEARS_NS, -YEARS_NS])
@pytest.mark.parametrize(("app", "kind"), KINDS)
def test_a_virtual_sensor_in_real_time_stamps_by_the_clock_it_was_started_with(
    app: str, kind: str, shift_ns: int, wall: WallClock
) -> None:
    wall.shift_ns = shift_ns
    clock = anchored_clock()
    source = installed_apps()[app].load_virtual()(kind, {"seed": "3", **FAST.get(kind, FAST_CAMERA)}, 1.0)
    began_ns = clock() - SECOND_NS
    for number, reading in enumerate(itertools.islice(good_of(source), 20)):
        assert began_ns <= end_ns(reading) <= clock() + SECOND_NS
        if number == 5:
            wall.shift_ns += YEARS_NS  # Set while it runs: it goes on as it began.
    source.close()


def good_of(source: Source) -> Iterator[Reading]:
    return (item for item in source.readings(None) if isinstance(item, Reading))


def write_timed_csv(folder: Path) -> str:
    rows = "".join(f"2024-03-02T08:09:{second:02}Z,1,2,3,4\n" for second in range(COUNT))
    (folder / "timed.csv").write_text("captured," + ",".join(COLUMNS) + "\n" + rows)
    return f"csv:{folder}/timed.csv"


def write_dated_wfdb(folder: Path) -> str:
    uri = write_wfdb(folder, 1)
    head = (folder / "r.hea").read_text()
    (folder / "r.hea").write_text(head.replace(" 1200\n", " 1200 08:09:10 02/03/2024\n", 1))
    return uri


RECORDED: dict[str, Callable[[Path], str]] = {
    "csv": write_timed_csv,
    "replay": lambda folder: write_replay(folder, 1),
    "wfdb": write_dated_wfdb,
    "edf": lambda folder: write_edf(folder, 1),
    "file": lambda folder: f"{write_video(folder, 1)}?fps=1&start=2024-02-02T08:09:10Z",
    "folder": lambda folder: f"{write_pictures(folder, 1)}?start=2024-02-02T08:09:10Z",
}


@pytest.mark.parametrize("shift_ns", [YEARS_NS, -YEARS_NS])
def test_the_times_of_a_recording_are_its_own_whatever_the_clock(
    scheme: str, shift_ns: int, tmp_path: Path, wall: WallClock
) -> None:
    uri = RECORDED[scheme](tmp_path)
    times = [reading.captured_ns for reading in good(read(uri, tmp_path))]
    wall.shift_ns = shift_ns
    assert [reading.captured_ns for reading in good(read(uri, tmp_path))] == times
    assert len(times) == COUNT
    assert np.array_equal(np.diff(times), [SECOND_NS] * (COUNT - 1))
    assert times[0] < 1_709_400_000 * SECOND_NS, "in 2024, or in the recording's first second"


@pytest.mark.parametrize("shift_ns", [0, YEARS_NS, -YEARS_NS])
def test_a_file_without_times_has_those_of_its_reading(
    shift_ns: int, tmp_path: Path, wall: WallClock
) -> None:
    wall.shift_ns = shift_ns
    clock = anchored_clock()
    began_ns = clock() - SECOND_NS
    first = good(read(write_csv(tmp_path, 1), tmp_path))[0]
    assert began_ns <= first.captured_ns <= clock() + SECOND_NS
