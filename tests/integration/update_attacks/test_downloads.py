"""Freeze, endless data, slow retrieval; and a cloud that is reached again."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tuf.api.metadata import (  # public in its docs
    Metadata,  # pyright: ignore[reportPrivateImportUsage]  public in its docs
)

from tests.integration.update_attacks.attacks import assert_refused, attacked, endless
from tests.updates import QUICK, FileServer, NodeKit, UpdateSite
from tests.waiting import PATIENCE_S


def test_indefinite_freeze_is_noticed_when_the_timestamp_expires(tmp_path):
    site = UpdateSite(tmp_path / "cloud", timestamp_validity_s=2.0)
    site.publish("v1")
    node = NodeKit(tmp_path / "node", site)
    node.look()
    node.feed(15)
    assert node.version() == "v1"
    frozen = site.stolen()
    expires = Metadata[Any].from_file(str(frozen.folder / "metadata" / "timestamp.json")).signed.expires
    deadline = time.monotonic() + 10
    while datetime.now(UTC) <= expires + timedelta(milliseconds=10):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        assert_refused(attacked(node, site, frozen), "frozen")
    finally:
        frozen.close()
        site.server.close()


@pytest.mark.parametrize("end", ["timestamp.json", "2.root.json", ".snapshot.json"])
def test_endless_metadata(node, site, attacker, end):
    site.publish("v2")
    server = attacker()
    server.answers[end] = endless
    assert_refused(attacked(node, site, server), "endless")


def test_endless_target(node, site, attacker):
    site.publish("v2")
    server = attacker()
    server.answers["model.onnx"] = endless
    assert_refused(attacked(node, site, server), "endless")
    kept = sum(path.stat().st_size for path in (node.folder / "slots").rglob("*") if path.is_file())
    assert kept < 1_000_000


IMPATIENT = msgspec.structs.replace(QUICK, download_grace_s=0.3, min_bytes_per_s=100_000.0)


def dribbling_body(server: FileServer) -> Callable[[Any, bytes], None]:
    def answer(request: Any, content: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        for byte in content:
            request.wfile.write(bytes((byte,)))
            if server.stopping.wait(0.02):
                return

    return answer


def dribbling_headers(server: FileServer) -> Callable[[Any, bytes], None]:
    def answer(request: Any, content: bytes) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not server.stopping.wait(0.02):
            request.wfile.write(b"x")
            request.wfile.flush()

    return answer


def silent(server: FileServer) -> Callable[[Any, bytes], None]:
    def answer(request: Any, content: bytes) -> None:
        server.stopping.wait(PATIENCE_S)

    return answer


@pytest.mark.slow
@pytest.mark.parametrize("end", ["timestamp.json", "model.onnx"])
@pytest.mark.parametrize("manner", [dribbling_body, dribbling_headers, silent])
def test_slow_retrieval(node, site, attacker, manner, end):
    site.publish("v2")
    server = attacker()
    server.answers[end] = manner(server)
    started = time.monotonic()
    assert_refused(attacked(node, site, server, settings=IMPATIENT), "slow")
    assert time.monotonic() - started < 10


def test_a_node_under_attack_adopts_as_soon_as_the_cloud_is_reached_again(node, site, attacker):
    site.publish("v2")
    server = attacker()
    server.answers["model.onnx"] = endless
    assert_refused(attacked(node, site, server), "endless")
    free = attacked(node, site, site.server)
    free.look()
    free.feed(20)
    assert free.version() == "v2"


def test_a_refusal_that_lasts_is_reported_once(node, site, attacker):
    server = attacker()
    (server.folder / "metadata" / "timestamp.json").write_bytes(b"{}")
    bitten = attacked(node, site, server)
    for _ in range(5):
        bitten.look()
    assert len(bitten.reports("refused")) == 1
    assert bitten.update_client.refusals == {"malformed": 5}


def test_a_cloud_out_of_reach_is_no_refusal(node, site):
    gone = NodeKit(node.folder, site, url="http://127.0.0.1:9")
    assert gone.look() == []
    assert gone.version() == "v1"
