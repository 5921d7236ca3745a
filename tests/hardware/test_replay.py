"""Recorded readings come back as they were; a torn file costs only itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.app.edge import Reading
from common.edge.sensing.recording import record
from common.edge.sensing.sources import parse_uri
from common.errors import ReadingError, SourceFormatError
from hardware.sensors.replay import open_source


def write(folder: Path, count: int) -> list[Reading]:
    readings = [
        Reading("pump", 10**9 * i, i, np.arange(6.0).reshape(3, 2) + i, ("a", "b"), 360.0, {"run": i})
        for i in range(count)
    ]
    for reading in readings:
        record(folder, reading)
    return readings


def test_what_was_recorded_comes_back_in_order(tmp_path: Path) -> None:
    sent = write(tmp_path, 12)
    received = list(open_source(parse_uri(f"replay:{tmp_path}"), 0.0).readings(3))
    assert len(received) == 8
    for before, after in zip(sent[4:], received, strict=True):
        assert isinstance(after, Reading)
        assert np.array_equal(before.values, after.values)
        assert (after.subject, after.captured_ns, after.position) == (
            before.subject,
            before.captured_ns,
            before.position,
        )
        assert (after.channels, after.rate_hz, after.attributes) == (
            before.channels,
            before.rate_hz,
            before.attributes,
        )


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"not an archive"])
def test_a_torn_file_is_reported_and_the_rest_follows(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, 3)
    (tmp_path / "000000000001.npz").write_bytes(content)
    first, bad, last = open_source(parse_uri(f"replay:{tmp_path}"), 0.0).readings(None)
    assert isinstance(first, Reading)
    assert isinstance(bad, ReadingError)
    assert isinstance(last, Reading)


def test_a_recording_is_never_unpickled(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "000000000000.npz",
        values=np.array([object()], dtype=object),
        reading=np.zeros(1, np.uint8),
    )
    (bad,) = open_source(parse_uri(f"replay:{tmp_path}"), 0.0).readings(None)
    assert isinstance(bad, ReadingError)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceFormatError, match="no recorded readings"):
        open_source(parse_uri(f"replay:{tmp_path}"), 0.0)
    with pytest.raises(SourceFormatError, match="not a folder"):
        open_source(parse_uri(f"replay:{tmp_path}/absent"), 0.0)
