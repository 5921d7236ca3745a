"""Recorded requests of a node are parsed for replay."""

from __future__ import annotations

from apps.demo.benchmarks.deployment import parse_requests

SENT = (
    b"GET /tuf/metadata/timestamp.json HTTP/1.1\r\nHost: 127.0.0.1:80\r\nAuthorization: Bearer abc\r\n\r\n"
    b'GET /tuf/metadata/2.root.json HTTP/1.1\r\nHost: 127.0.0.1:80\r\nIf-None-Match: "x: y"\r\n\r\n'
    b"POST /v1/samples HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
)


def test_requests_are_taken_apart_with_their_headers():
    assert parse_requests(SENT) == [
        ("/tuf/metadata/timestamp.json", {"Authorization": "Bearer abc"}),
        ("/tuf/metadata/2.root.json", {"If-None-Match": '"x: y"'}),
    ]


def test_half_a_request_is_none():
    assert parse_requests(b"") == []
