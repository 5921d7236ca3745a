"""Video files and folders of pictures: every frame, in order, from any position, and clear errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.app.edge import Reading
from common.edge.sensing.sources import parse_uri
from common.errors import ReadingError, SourceError, SourceFormatError
from common.messages import parse_time
from hardware.sensors.camera import file, folder

cv2: Any = pytest.importorskip("cv2")
COUNT, FPS = 30, 12.5
START = "2026-05-01T09:00:00Z"


def write_video(
    path: Path, count: int = COUNT, *, codec: str = "MJPG", size: tuple[int, int] = (64, 48)
) -> Path:
    """Frame ``i`` has the grey value ``8 * i``."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), FPS, size)
    for index in range(count):
        writer.write(np.full((size[1], size[0], 3), 8 * index, np.uint8))
    writer.release()
    return path


def items_of(uri: str, after: int | None = None) -> list[Reading | ReadingError]:
    parsed = parse_uri(uri)
    source = (file if parsed.scheme == "file" else folder).open_source(parsed, 0.0)
    return list(source.readings(after))


def frames_of(uri: str, after: int | None = None) -> list[Reading]:
    return [item for item in items_of(uri, after) if isinstance(item, Reading)]


def grey(reading: Reading) -> int:
    return round(float(reading.values.mean()) / 8)


@pytest.mark.parametrize(("name", "codec"), [("clip.avi", "MJPG"), ("clip.mp4", "mp4v")])
def test_a_video_gives_every_frame_with_its_time_and_continues_from_any(
    tmp_path: Path, name: str, codec: str
) -> None:
    path = write_video(tmp_path / name, codec=codec)
    frames = frames_of(f"file:{path}?start={START}&name=door")
    assert [grey(each) for each in frames] == list(range(COUNT))
    assert [each.position for each in frames] == list(range(1, COUNT + 1))
    assert {each.subject for each in frames} == {"door"}
    assert all(each.recorded for each in frames)
    begin_ns = parse_time(START)
    times_s = [(each.captured_ns - begin_ns) / 1e9 for each in frames]
    np.testing.assert_allclose(times_s, np.arange(COUNT) / FPS, atol=1e-3)
    for after in (1, 13, COUNT - 1, COUNT):
        rest = frames_of(f"file:{path}?start={START}&name=door", after)
        assert [(each.position, grey(each)) for each in rest] == [(i + 1, i) for i in range(after, COUNT)]
        assert [each.captured_ns for each in rest] == [each.captured_ns for each in frames[after:]]


def test_times_are_the_same_in_every_run_without_a_start(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi")
    first, again = frames_of(f"file:{path}"), frames_of(f"file:{path}", 4)
    assert [each.captured_ns for each in again] == [each.captured_ns for each in first[4:]]
    assert first[-1].captured_ns <= path.stat().st_mtime_ns
    assert first[0].subject == "clip"


def test_a_video_that_is_cut_off_gives_its_frames_and_an_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", size=(320, 240))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    *frames, last = items_of(f"file:{path}")
    assert 5 < len(frames) < COUNT
    assert isinstance(last, ReadingError)
    assert (last.kind, last.count) == ("lost", COUNT - len(frames))
    assert f"ends after {len(frames)} of {COUNT} frames" in str(last)


def test_damage_in_the_middle_leaves_the_other_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", size=(320, 240))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    items = items_of(f"file:{path}")
    frames = [item for item in items if isinstance(item, Reading)]
    assert len(frames) >= COUNT - 6
    assert grey(frames[0]) == 0
    assert grey(frames[-1]) == COUNT - 1
    assert "damaged before frame" in str(next(item for item in items if isinstance(item, ReadingError)))
    after = frames[-3].position
    assert [grey(each) for each in frames_of(f"file:{path}", after)] == [grey(each) for each in frames[-2:]]


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        ("file:absent.mp4", SourceFormatError, "there is no file absent.mp4"),
        ("file:text.mp4", SourceFormatError, "is no video"),
        ("file:clip.avi?colour=red", SourceError, "has no parameter colour; there are name:"),
        ("file:clip.avi?fps=-1", SourceError, "fps='-1' is no number above 0"),
        ("file:clip.avi?start=noon", SourceError, "start='noon' is no time"),
        ("folder:absent", SourceFormatError, "is no folder"),
        ("folder:.", SourceFormatError, "has no pictures"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.avi", 3)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(error, match=message):
        items_of(uri)


def test_another_recording_at_the_same_place_has_another_identity(tmp_path: Path) -> None:
    def identity(count: int) -> str:
        path = write_video(tmp_path / "clip.avi", count)
        return file.open_source(parse_uri(f"file:{path}"), 0.0).identity

    assert identity(5) != identity(6)
    assert identity(5) == identity(5)


def test_a_folder_gives_its_pictures_by_name_and_reports_what_is_none(tmp_path: Path) -> None:
    for index in range(5):
        cv2.imwrite(str(tmp_path / f"{index:03}.png"), np.full((8, 10, 3), 8 * index, np.uint8))
    (tmp_path / "002.png").write_bytes(b"no picture")
    (tmp_path / "003.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not read")
    items = items_of(f"folder:{tmp_path}?start={START}&fps=2&name=shelf")
    frames = [item for item in items if isinstance(item, Reading)]
    assert [(each.position, grey(each), each.subject) for each in frames] == [
        (index + 1, index, "shelf") for index in (0, 1, 4)
    ]
    assert frames[-1].captured_ns == parse_time(START) + 2_000_000_000
    assert ["no picture" in str(item) for item in items if isinstance(item, ReadingError)] == [True, True]
    assert [each.position for each in frames_of(f"folder:{tmp_path}", 1)] == [2, 5]


def test_a_picture_of_another_size_is_given_as_it_is(tmp_path: Path) -> None:
    for index, width in enumerate((10, 20)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((8, width, 3), np.uint8))
    assert [each.values.shape for each in frames_of(f"folder:{tmp_path}")] == [(8, 10, 3), (8, 20, 3)]
