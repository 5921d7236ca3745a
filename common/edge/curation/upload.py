"""Resumable upload of one sample by HTTP: announce it, send pieces, resume at the cloud's offset."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any, NamedTuple

import msgspec
import urllib3

from common.config.node import Enrolment
from common.errors import SampleError

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 60.0
CONFLICTS_LIMIT = 8
ANSWER_LIMIT_BYTES = 64 * 1024
FINAL = frozenset({400, 404, 413, 422})
"""Answers after which this sample need not be tried again."""
NOT_YET = frozenset({403, 409, 429, 507})
"""Answers after which other samples go first: the cloud does not know the subject yet, or has no
room, or this node has too many unfinished ones, which are among the others."""


class UploadFailed(Exception):
    """The upload is incomplete; a later attempt resumes it.

    ``of_sample``: the cloud answers, and does not take this sample yet; others may go first.
    """

    def __init__(self, message: str, *, of_sample: bool = False) -> None:
        super().__init__(message)
        self.of_sample = of_sample


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A sample on the node: the sidecar of its content."""

    digest: str
    app: str
    subject: str
    group: str
    captured_ns: int
    reasons: dict[str, float]
    attributes: dict[str, Any]
    size: int
    score: float
    recorded: bool = False


class _Answer(msgspec.Struct, frozen=True):
    offset: int
    complete: bool = False


class _Reply(NamedTuple):
    """An answer within its limit: its body, and the header ``Upload-Offset``."""

    content: bytes
    offset: str


class SampleUpload:
    """The sample upload of the API at the enrolment's cloud."""

    def __init__(self, enrolment: Enrolment, chunk_bytes: int) -> None:
        self._url = f"{enrolment.cloud_url.rstrip('/')}/v1/samples"
        self._chunk_bytes = chunk_bytes
        self._headers = {"Authorization": f"Bearer {enrolment.token}", "User-Agent": "edgeloop-node"}
        self._pool = urllib3.PoolManager(
            maxsize=1,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=ANSWER_TIMEOUT_S),
        )

    def send(self, kept: Kept, content: bytes) -> Generator[int]:
        """Send what the cloud does not have yet; yields the bytes of each piece that was sent.

        Raises `SampleError` if the cloud will never take this sample, `UploadFailed` to try later.
        """
        announced = {
            "app": kept.app,
            "subject": kept.subject,
            "group": kept.group,
            "captured_ns": kept.captured_ns,
            "reasons": kept.reasons,
            "attributes": kept.attributes,
            "size": kept.size,
            "sha256": kept.digest,
            "recorded": kept.recorded,
        }
        body = msgspec.json.encode(announced)
        state = _state(self._request("POST", self._url, body, {"Content-Type": "application/json"}))
        conflicts = 0
        while not state.complete:
            piece = content[state.offset : state.offset + self._chunk_bytes]
            headers = {
                "Content-Type": "application/offset+octet-stream",
                "Upload-Offset": str(state.offset),
            }
            answer = self._request("PATCH", f"{self._url}/{kept.digest}", piece, headers, conflict=True)
            yield len(piece)
            if answer is not None:
                after = _state(answer)
                if after.offset <= state.offset and not after.complete:
                    raise UploadFailed("the cloud took nothing of a piece")
                state = after
                continue
            conflicts += 1
            if conflicts > CONFLICTS_LIMIT:
                raise UploadFailed("the cloud and this node do not agree on how far the upload is")
            state = self._where(kept)

    def _where(self, kept: Kept) -> _Answer:
        answer = self._request("HEAD", f"{self._url}/{kept.digest}", b"", {})
        assert answer is not None
        offset = answer.offset
        if not re.fullmatch("[0-9]{1,18}", offset) or int(offset) > kept.size:
            raise UploadFailed(f"the cloud reports the upload at {offset[:20]!r}")
        return _Answer(int(offset), int(offset) == kept.size)

    def _request(
        self, method: str, url: str, body: bytes, headers: dict[str, str], *, conflict: bool = False
    ) -> _Reply | None:
        """The answer; None for a conflict where one is expected."""
        try:
            answer = self._pool.request(
                method,
                url,
                body=body,
                headers=self._headers | headers,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            content = answer.read(ANSWER_LIMIT_BYTES + 1)
        except urllib3.exceptions.HTTPError as error:
            raise UploadFailed(f"{self._url} does not answer: {error}") from error
        if len(content) > ANSWER_LIMIT_BYTES:
            answer.close()
            raise UploadFailed(f"{self._url} answers with more than {ANSWER_LIMIT_BYTES} bytes")
        if answer.status < 300:
            return _Reply(content, answer.headers.get("Upload-Offset", ""))
        if conflict and answer.status == 409:
            return None
        text = content[:300].decode("utf-8", "replace")
        answer_text = f"{method} {url} is answered with {answer.status}: {text}"
        if answer.status in FINAL:
            raise SampleError(answer_text)
        raise UploadFailed(answer_text, of_sample=answer.status in NOT_YET)


def _state(answer: _Reply | None) -> _Answer:
    assert answer is not None
    try:
        state = msgspec.json.decode(answer.content, type=_Answer)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UploadFailed(f"the cloud's answer is not readable: {error}") from error
    if state.offset < 0:
        raise UploadFailed(f"the cloud's answer makes no sense: {state}")
    return state
