"""Whatever a server answers to an upload, the node keeps its sample and its memory."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from common.config.node import Enrolment
from common.edge.curation.upload import ANSWER_LIMIT_BYTES, Kept, SampleUpload, UploadFailed

CONTENT = b"sample"
KEPT = Kept(
    digest="0" * 64,
    app="a",
    subject="s",
    group="s",
    captured_ns=1,
    reasons={},
    attributes={},
    size=len(CONTENT),
    score=1.0,
)


@pytest.fixture
def answering() -> Iterator[Callable[..., SampleUpload]]:
    """A server that answers everything with the same status, headers and body."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, body: bytes, **headers: str) -> SampleUpload:
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                patched = self.command == "PATCH" and status == 201
                self.send_response(409 if patched else status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_POST = do_PATCH = do_HEAD = answer

            def log_message(self, format: str, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        return SampleUpload(Enrolment("n", "s", url, "127.0.0.1", 1, "p", "t", {}, ""), 100)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "body",
    [
        b"x" * (ANSWER_LIMIT_BYTES + 1),
        b"[" * 50_000,
        b'{"offset": 0, "more": ' + b"[" * 50_000,
        b'{"offset": ' + b"9" * 5000 + b"}",
        b'{"offset": -1}',
        b"",
        b"\xff",
    ],
)
def test_an_answer_that_is_none_is_tried_again_later(answering, body: bytes) -> None:
    with pytest.raises(UploadFailed):
        list(answering(201, body).send(KEPT, CONTENT))


def test_a_compressed_answer_is_not_unpacked(answering) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < ANSWER_LIMIT_BYTES
    with pytest.raises(UploadFailed, match="not readable"):
        list(answering(201, bomb, Content_Encoding="gzip").send(KEPT, CONTENT))


@pytest.mark.parametrize("offset", ["9" * 5000, "-1", "7", ""])
def test_an_offset_that_is_none_is_tried_again_later(answering, offset: str) -> None:
    headers = {"Upload_Offset": offset}
    with pytest.raises(UploadFailed):
        list(answering(201, b'{"offset": 0}', **headers).send(KEPT, CONTENT))


@pytest.mark.parametrize("status", [403, 409, 507])
def test_what_the_cloud_does_not_take_yet_lets_others_go_first(answering, status: int) -> None:
    with pytest.raises(UploadFailed) as raised:
        list(answering(status, b"{}").send(KEPT, CONTENT))
    assert raised.value.of_sample
