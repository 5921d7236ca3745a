"""A real node on a virtual camera: nothing picture-like is on the wire, on the disk, or in the log.

Pictures are looked for by the beginnings of their formats and by rows of the very frames that the node saw,
in every file, in what is compressed in them, and in every message.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
import zstandard

from cloud_backend.access.tokens import CLOUD_USER, hash_password
from common.config.node import CurationSettings, Enrolment, NodeSettings
from common.edge.delivery.outbox import Outbox
from common.edge.node import Node
from common.edge.processing.journal import unpack
from common.edge.processing.state import decode_state
from common.messages import topics
from common.samples import decode_sample
from hardware.virtual_camera.source import VirtualCamera, read_options
from tests.apps.retail.detector_bundle import small_store
from tests.brokers import MqttClient, make_broker
from tests.builders import FIRST_NS
from tests.cloud_backend.ingest.nodes import seal_of, wire_key_of
from tests.updates import UpdateSite
from tests.waiting import wait_for

pytest.importorskip("cv2")
FRAMES = 24
PARAMETERS = {"seed": "3", "size": "320x240", "fps": "4", "effects": "plain"}
SOURCE = "virtual:entrance?" + "&".join(f"{name}={value}" for name, value in PARAMETERS.items())
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"WEBPVP8", b"ftypavif", b"\x00\x00\x01\xba", b"II*\x00")
ROW_PX = 24


def rows_of_frames() -> list[bytes]:
    """Pieces of rows of frames that the node sees, each of several colours."""
    camera = VirtualCamera(read_options("entrance", PARAMETERS))
    found: list[bytes] = []
    for position in range(0, FRAMES, 8):
        image = camera.shot(position).image
        for y in range(20, 230, 30):
            piece = image[y, 150 : 150 + ROW_PX]
            if piece.std() > 3:
                found.append(piece.tobytes())
    assert len(found) > 10
    return found


def is_picture(content: bytes, rows: list[bytes]) -> bool:
    return any(each in content for each in (*BEGINNINGS, *rows))


def unpacked(content: bytes) -> Iterator[bytes]:
    """A content, and what is compressed by zstandard anywhere in it."""
    yield content
    begin = content.find(zstandard.FRAME_HEADER)
    while begin >= 0:
        with suppress(zstandard.ZstdError):
            yield zstandard.ZstdDecompressor().decompressobj().decompress(content[begin:])
        begin = content.find(zstandard.FRAME_HEADER, begin + 1)


@pytest.fixture
def enrolled(tmp_path: Path) -> Iterator[tuple[Enrolment, UpdateSite]]:
    users = {user: hash_password("pw") for user in (CLOUD_USER, "plant/node-1")}
    site = UpdateSite(tmp_path / "cloud")
    broker = make_broker("iotcore", tmp_path / "broker", lambda: users)
    broker.start()
    yield (
        Enrolment(
            "node-1", "plant", site.server.url, "127.0.0.1", broker.port, "pw", "t",
            site.repository.root(), wire_key_of(),
        ),
        site,
    )  # fmt: skip
    broker.stop()
    site.server.close()


def run(tmp_path: Path, enrolment: Enrolment, **app: object) -> list[bytes]:
    """A node through `FRAMES` frames with these settings of the app; the bodies of its messages."""
    settings = NodeSettings(
        app="retail",
        source=SOURCE,
        data=str(tmp_path / "data"),
        speed=0.0,
        profile="cpu",
        settings=app,
        curation=CurationSettings(min_score=0.0),
    )
    to, seal = topics("plant", "node-1"), seal_of()
    node = Node(settings, enrolment, small_store(tmp_path / "starter"))
    with MqttClient(enrolment.mqtt_port, CLOUD_USER, "pw") as cloud:
        cloud.subscribe(to.up, to.status)
        node.start()
        wait_for(lambda: node.processing.handled >= FRAMES, "the frames")
        cloud.wait(lambda: any(topic == to.up for topic, _ in cloud.received))
        node.stop()
        return [seal.open(topic, payload) for topic, payload in cloud.received]


def stored_arrays(data: Path) -> list[np.ndarray]:
    """Arrays of the app's stored state."""
    with closing(Outbox(data / "outbox.sqlite", "/plant/node-1", 10**9, lambda: FIRST_NS)) as outbox:
        saved, journal = outbox.saved_state(), outbox.journal()
    assert saved is not None
    assert list(journal) == []

    def arrays(value: object) -> Iterator[np.ndarray]:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, dict):
            for part in value.values():
                yield from arrays(part)
        elif isinstance(value, list):
            for part in value:
                yield from arrays(part)

    return list(arrays(decode_state(unpack(saved))))


def test_by_default_there_is_no_picture_anywhere(
    tmp_path: Path, enrolled: tuple[Enrolment, UpdateSite], caplog: pytest.LogCaptureFixture
) -> None:
    enrolment, site = enrolled
    with caplog.at_level(logging.DEBUG):
        bodies = run(tmp_path, enrolment)
    rows = rows_of_frames()
    assert bodies
    assert not any(is_picture(part, rows) for body in bodies for part in unpacked(body))
    assert not any("samples" in path for path in site.server.requests)
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert any(path.name == "outbox.sqlite" for path in files)
    for path in files:
        if "slots" not in path.parts:  # The bundle, whose golden cases are no frames of this camera.
            assert not any(is_picture(part, rows) for part in unpacked(path.read_bytes())), path
    assert not is_picture(caplog.text.encode(), rows)
    found = stored_arrays(tmp_path / "data")
    assert found
    assert not any(each.dtype == np.uint8 and each.size > 256 for each in found)
    assert all(each.ndim < 3 for each in found)


@pytest.mark.slow
def test_allowed_pictures_are_in_the_sample_store_alone_and_have_no_head(
    tmp_path: Path, enrolled: tuple[Enrolment, UpdateSite]
) -> None:
    import cv2

    bodies = run(tmp_path, enrolled[0], samples=True, stills=True, sample_interval_s=1.0)
    rows = rows_of_frames()
    assert not any(is_picture(part, rows) for body in bodies for part in unpacked(body))
    data = tmp_path / "data"
    for path in data.rglob("*"):
        if path.is_file() and not {"slots", "samples"} & set(path.parts):
            assert not any(is_picture(part, rows) for part in unpacked(path.read_bytes())), path
    kept = sorted((data / "samples").glob("*.npz"))
    assert len(kept) >= 2
    for path in kept:
        arrays = decode_sample(path.read_bytes())
        picture = cv2.imdecode(np.asarray(arrays["jpeg"], np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        left, top, right, bottom = arrays["boxes_xyxy_px"][0].astype(int)
        head = picture[top : top + (bottom - top) // 4, left:right].astype(float)
        steps = np.abs(np.diff(head, axis=1))
        assert np.quantile(steps, 0.6) <= 2.0, path  # Flat cells, but for their edges.


def test_a_node_s_process_writes_no_core() -> None:
    program = (
        "import resource\n"
        "from common.config.node import NodeSettings\n"
        "from common.edge.run import run_node\n"
        "try:\n"
        "    run_node(NodeSettings(app='absent'), None)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, resource.getrlimit(resource.RLIMIT_CORE))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "ConfigError (0, 0)"
