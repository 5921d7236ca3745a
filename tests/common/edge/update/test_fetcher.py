"""Downloads that are cut, continued, slow, endless or wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    LengthOrHashMismatchError,
)
from tuf.api.metadata import TargetFile

from common.edge.update.fetcher import ATTEMPTS, RepositoryFetcher, fetch_target
from tests.updates import QUICK, FileServer

CONTENT = np.random.default_rng(5).bytes(3000)
NAME = "model.onnx"
CUTS = sorted({0, 1, 2, 1499, 2998, 2999, *range(0, 3000, 157)})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / NAME).write_bytes(CONTENT)
    server = FileServer(tmp_path / "www")
    yield server
    server.close()


@pytest.fixture
def fetch(tmp_path: Path, server: FileServer) -> Callable[[], Path]:
    """Fetches the file into a folder; gives its path."""
    target = TargetFile.from_data(NAME, CONTENT, ["sha256"])
    (tmp_path / "slot").mkdir()

    def run() -> Path:
        path = tmp_path / "slot" / NAME
        fetch_target(RepositoryFetcher(QUICK), f"{server.url}/tuf/{NAME}", target, path)
        return path

    return run


def cut_at(*cuts: int, server: FileServer) -> Callable[[Any, bytes], None]:
    """The first answers end after so many bytes each; later ones are whole."""
    left = list(cuts)

    def answer(request: Any, content: bytes) -> None:
        server.send(request, content, cut=left.pop(0) if left else None)

    return answer


def without_ranges(*cuts: int) -> Callable[[Any, bytes], None]:
    """A server that always gives the file from its start."""
    left = list(cuts)

    def answer(request: Any, content: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: left.pop(0)] if left else content)

    return answer


def assert_whole(path: Path) -> None:
    assert path.read_bytes() == CONTENT
    assert [each.name for each in path.parent.iterdir()] == [NAME]


def fetch_until_there(fetch: Callable[[], Path]) -> Path:
    """As the node does: look again after a look that failed."""
    try:
        return fetch()
    except DownloadError:
        return fetch()


@pytest.mark.parametrize("cut", CUTS)
def test_a_download_cut_at_any_byte_is_continued(server, fetch, cut):
    server.answers[NAME] = cut_at(cut, server=server)
    assert_whole(fetch_until_there(fetch))
    assert len(server.requests) == 2


@pytest.mark.parametrize("cut", CUTS[::4])
def test_a_download_cut_at_any_byte_starts_again_where_the_server_knows_no_ranges(server, fetch, cut):
    server.answers[NAME] = without_ranges(cut)
    assert_whole(fetch_until_there(fetch))


@pytest.mark.parametrize("cut", CUTS[::4])
def test_what_a_killed_process_left_is_continued(server, fetch, tmp_path, cut):
    digest = TargetFile.from_data(NAME, CONTENT, ["sha256"]).hashes["sha256"]
    (tmp_path / "slot" / f".{NAME}.{digest[:16]}.partial").write_bytes(CONTENT[:cut])
    ranges: list[str | None] = []

    def answer(request: Any, content: bytes) -> None:
        ranges.append(request.headers.get("Range"))
        server.send(request, content)

    server.answers[NAME] = answer
    assert_whole(fetch())
    assert ranges == [f"bytes={cut}-" if cut else None]


def test_a_whole_partial_file_needs_no_request(server, fetch, tmp_path):
    digest = TargetFile.from_data(NAME, CONTENT, ["sha256"]).hashes["sha256"]
    (tmp_path / "slot" / f".{NAME}.{digest[:16]}.partial").write_bytes(CONTENT)
    assert_whole(fetch())
    assert server.requests == []


@pytest.mark.parametrize("length", [1, 1500, 3000, 3001, 9000])
def test_a_partial_file_of_something_else_is_fetched_again(server, fetch, tmp_path, length):
    digest = TargetFile.from_data(NAME, CONTENT, ["sha256"]).hashes["sha256"]
    (tmp_path / "slot" / f".{NAME}.{digest[:16]}.partial").write_bytes(b"x" * length)
    assert_whole(fetch())


def test_many_cuts_within_one_check(server, fetch):
    server.answers[NAME] = cut_at(*[500] * (ATTEMPTS - 1), server=server)
    assert_whole(fetch())


def test_no_progress_ends_the_check(server, fetch):
    server.answers[NAME] = cut_at(*[0] * 50, server=server)
    with pytest.raises(DownloadError):
        fetch()
    assert len(server.requests) <= ATTEMPTS


def test_what_is_there_is_not_fetched_again(server, fetch):
    fetch()
    fetch()
    assert len(server.requests) == 1


def test_an_altered_file_leaves_nothing_behind(server, fetch, tmp_path):
    (server.folder / NAME).write_bytes(b"y" + CONTENT[1:])
    with pytest.raises(LengthOrHashMismatchError):
        fetch()
    assert list((tmp_path / "slot").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "error"),
    [(CONTENT[:-1], LengthOrHashMismatchError), (CONTENT + b"z", DownloadLengthMismatchError)],
)
def test_a_file_of_another_length_is_refused(server, fetch, content, error):
    (server.folder / NAME).write_bytes(content)
    with pytest.raises(error):
        fetch()


def test_a_redirect_is_not_followed_so_that_the_token_stays_here(server, fetch):
    def answer(request: Any, content: bytes) -> None:
        request.send_response(302)
        request.send_header("Location", "http://127.0.0.1:9/")
        request.end_headers()

    server.answers[NAME] = answer
    with pytest.raises(DownloadHTTPError):
        fetch()


def test_the_token_is_sent(server, tmp_path):
    seen: list[str | None] = []

    def answer(request: Any, content: bytes) -> None:
        seen.append(request.headers.get("Authorization"))
        server.send(request, content)

    server.answers[NAME] = answer
    target = TargetFile.from_data(NAME, CONTENT, ["sha256"])
    fetcher = RepositoryFetcher(QUICK, token="t0ken")
    fetch_target(fetcher, f"{server.url}/tuf/{NAME}", target, tmp_path / NAME)
    assert seen == ["Bearer t0ken"]
