"""Live cameras against a real RTSP server and a real MJPEG stream: frames, times, loss and return."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.app.edge import Reading
from common.clock import anchored_clock
from common.edge.sensing.sources import parse_uri
from common.errors import ReadingError, SourceError
from hardware.sensors.camera import live
from hardware.sensors.camera.stream_clock import StreamClock

cv2: Any = pytest.importorskip("cv2")
SERVER = Path(__file__).with_name("rtsp_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"


def missing_server() -> str:
    """Reason for which there is no RTSP server here; empty if there is one."""
    if shutil.which(SYSTEM_PYTHON) is None:
        return f"there is no {SYSTEM_PYTHON}"
    found = subprocess.run([SYSTEM_PYTHON, str(SERVER), "check"], capture_output=True, text=True, check=False)
    return "" if found.returncode == 0 else (found.stderr.strip().splitlines() or ["unknown"])[-1]


@pytest.fixture(scope="module")
def gstreamer() -> None:
    if reason := missing_server():
        pytest.skip(
            f"no RTSP server: {reason}; apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly"
        )


@contextmanager
def rtsp_server(width: int, height: int, *, fps: int = 10, port: int = 0) -> Iterator[int]:
    command = [SYSTEM_PYTHON, str(SERVER), str(width), str(height), str(fps), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.kill()


def camera(uri: str) -> live.LiveCamera:
    parsed = parse_uri(uri)
    return (live.open_usb if parsed.scheme == "usb" else live.open_network)(parsed, 1.0)


def frames(source: live.LiveCamera, count: int, after: int | None = None) -> list[Reading]:
    items = source.readings(after)
    found = list(islice((item for item in items if isinstance(item, Reading)), count))
    items.close()  # type: ignore[attr-defined]  it is a generator
    return found


@pytest.mark.usefixtures("gstreamer")
def test_an_rtsp_camera_gives_frames_in_their_order_with_times_of_this_device() -> None:
    with rtsp_server(320, 240) as port:
        before_ns = anchored_clock()()
        found = frames(camera(f"rtsp://127.0.0.1:{port}/live#name=door&timeout_s=120"), 15, after=6)
        after_ns = anchored_clock()()
    assert [each.position for each in found] == list(range(7, 22))
    assert {each.subject for each in found} == {"door"}
    assert {each.values.shape for each in found} == {(240, 320, 3)}
    times = [each.captured_ns for each in found]
    assert times == sorted(times)
    assert before_ns < times[0] < times[-1] <= after_ns
    assert not any(each.recorded for each in found)
    periods_s = np.diff(times[-8:]) / 1e9
    assert np.median(periods_s) == pytest.approx(0.1, abs=0.03)


@pytest.mark.usefixtures("gstreamer")
def test_an_rtsp_camera_that_goes_is_an_error_and_comes_back_with_another_size() -> None:
    with rtsp_server(320, 240) as port:
        source = camera(f"rtsp://127.0.0.1:{port}/live#timeout_s=120")
        items = source.readings(None)
        assert isinstance(next(items), Reading)
    with pytest.raises(SourceError, match="gives no more frames"):
        for _ in items:
            pass
    with pytest.raises(SourceError, match="cannot be opened"):
        next(source.readings(None))
    with rtsp_server(160, 120, port=port):
        changed, frame = islice(source.readings(None), 2)
    assert isinstance(changed, ReadingError)
    assert (changed.kind, "from 320 by 240 to 160 by 120" in str(changed)) == ("changed", True)
    assert isinstance(frame, Reading)
    assert frame.values.shape == (120, 160, 3)


class Mjpeg(BaseHTTPRequestHandler):
    """An MJPEG camera: twelve pictures, the fifth of them damaged, the last four larger."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(12):
            size = (64, 96) if index >= 8 else (48, 64)
            content = cv2.imencode(".jpg", np.full((*size, 3), 10 * index, np.uint8))[1].tobytes()
            if index == 4:
                content = content[:40] + bytes(len(content) - 40)
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
            self.wfile.write(head.encode() + content + b"\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def mjpeg() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Mjpeg) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_an_mjpeg_camera_survives_a_corrupt_picture_and_pictures_of_another_size(mjpeg: int) -> None:
    source = camera(f"http://127.0.0.1:{mjpeg}/cam?channel=1")
    items: list[Reading | ReadingError] = []
    with pytest.raises(SourceError, match="gives no more frames"):
        items.extend(source.readings(None))
    found = [item for item in items if isinstance(item, Reading)]
    assert len(found) >= 8
    assert {each.subject for each in found} == {"127.0.0.1-cam-channel-1"}
    assert {each.values.shape for each in found} == {(48, 64, 3)}
    assert round(float(found[-1].values.mean())) == pytest.approx(110, abs=2)


def test_a_camera_that_is_not_there_is_an_error_without_its_password() -> None:
    with pytest.raises(SourceError, match="cannot be opened") as caught:
        next(camera("rtsp://admin:secret@127.0.0.1:9/live#timeout_s=1").readings(None))
    assert "secret" not in str(caught.value)
    with pytest.raises(SourceError, match=r"usb:97\?width=640 cannot be opened"):
        next(camera("usb:97?width=640").readings(None))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("rtsp:///live", "needs an address"),
        ("rtsp://h/live#fps=5", "has no parameter fps"),
        ("usb:front", "is no USB camera"),
        ("usb:0?width=wide", "is no number above 0"),
    ],
)
def test_a_wrong_address_is_refused(uri: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        camera(uri)


def test_frames_that_arrive_late_were_captured_in_time() -> None:
    clock, rng = StreamClock(), np.random.default_rng(1)
    begin_ns, late_ns = 10**18, []
    for index in range(1, 3000):
        captured_ns = begin_ns + index * 100_000_000
        arrival_ns = captured_ns + 20_000_000 + round(rng.exponential(40e6))
        found_ns = clock.captured_ns(5000 + index * 100.0, arrival_ns)
        assert found_ns <= arrival_ns
        late_ns.append(found_ns - captured_ns)
    assert np.ptp(late_ns[500:]) < 15_000_000


@pytest.mark.parametrize("stream_ms", [0.0, float("nan"), -1.0, 40.0])
def test_without_timestamps_a_frame_was_captured_when_it_arrived(stream_ms: float) -> None:
    clock = StreamClock()
    assert [clock.captured_ns(stream_ms, now_ns) for now_ns in (10, 20, 30)] == [10, 20, 30]


def test_timestamps_that_begin_again_are_followed() -> None:
    clock = StreamClock()
    for index in range(1, 20):
        clock.captured_ns(index * 100.0, 10**18 + index * 100_000_000)
    assert clock.captured_ns(100.0, 2 * 10**18) == 2 * 10**18
    assert clock.captured_ns(200.0, 2 * 10**18 + 100_000_000) == 2 * 10**18 + 100_000_000
