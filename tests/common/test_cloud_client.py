"""The HTTP client of the cloud, against a real HTTP server with prepared answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from common.bundle import open_bundle
from common.cloud_client import CloudClient
from common.errors import CloudError

BUNDLE = Path(__file__).parents[1] / "e2e" / "tally" / "starter"
TOKEN = "secret"


class Answers(BaseHTTPRequestHandler):
    """Three items in pages of ``limit``, and one answer of each kind."""

    uploads: dict[str, bytes]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._send(401, "application/problem+json", b'{"title": "Unauthorized", "detail": "no token"}')
        elif url.path == "/items":
            query = parse_qs(url.query)
            first, limit = int(query.get("cursor", ["0"])[0]), int(query["limit"][0])
            items = [{"number": number} for number in range(3)][first : first + limit]
            following = first + limit if first + limit < 3 else None
            self._send_json({"items": items, "next": following})
        elif url.path == "/log":
            self._send(200, "text/plain; charset=utf-8", b"line")
        elif url.path == "/fhir":
            self._send(200, "application/fhir+json", b'{"resourceType": "Bundle"}')
        else:
            self._send(502, "text/html", b"<h1>a proxy</h1>")

    def do_PUT(self) -> None:
        self.uploads[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(204, "", b"")

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""

    def _send_json(self, document: object) -> None:
        self._send(200, "application/json", json.dumps(document).encode())

    def _send(self, status: int, media_type: str, content: bytes) -> None:
        self.send_response(status)
        if media_type:
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def url() -> Iterator[str]:
    Answers.uploads = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("limit", [1, 2, 3, 500])
def test_a_list_is_complete_whatever_its_page_size(url: str, limit: int) -> None:
    with CloudClient(url, TOKEN) as client:
        assert [item["number"] for item in client.items("/items", limit=limit, app=None)] == [0, 1, 2]


def test_json_is_decoded_and_other_content_stays_bytes(url: str) -> None:
    with CloudClient(url, TOKEN) as client:
        assert client.get("/fhir") == {"resourceType": "Bundle"}
        assert client.get("/log") == b"line"


def test_an_error_carries_the_problem_detail_and_the_status(url: str) -> None:
    with CloudClient(url, "wrong") as client, pytest.raises(CloudError, match=r"no token \(401\)") as caught:
        client.get("/items")
    assert caught.value.status == 401


def test_an_error_without_a_problem_document_names_its_status(url: str) -> None:
    with CloudClient(url, TOKEN) as client, pytest.raises(CloudError, match="answered 502"):
        client.get("/elsewhere")


def test_a_cloud_that_does_not_answer_is_an_error_without_status() -> None:
    with (
        CloudClient("http://127.0.0.1:9", TOKEN) as client,
        pytest.raises(CloudError, match="cannot reach") as caught,
    ):
        client.get("/items")
    assert caught.value.status == 0


def test_every_file_of_a_bundle_is_uploaded(url: str) -> None:
    bundle = open_bundle(BUNDLE)
    with CloudClient(url, TOKEN) as client:
        client.send_bundle("tally", bundle)
    prefix = f"/v1/apps/tally/models/{bundle.version}/files/"
    assert Answers.uploads == {prefix + name: (BUNDLE / name).read_bytes() for name in bundle.files()}
