"""Authentic messages: every payload on the wire begins with an HMAC-SHA256 tag.

The key is a secret of one node and one enrolment; only the node (in its enrolment) and the cloud (derived,
see `cloud_backend.access.wire_keys`) have it. The tag covers the topic and the body, so a message counts for
one node and one direction only, whatever broker it came through. A message that was true once can be sent
again by others: the contents must bear that (`common.messages`).
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

from common.errors import ConfigError, SealError

TAG_BYTES = 32
KEY_BYTES = 32


class Seal:
    """Seals and opens the messages of one node."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of(cls, text: str) -> Seal:
        """The seal with the key of an enrolment. Raises `ConfigError`."""
        try:
            key = urlsafe_b64decode(text.encode("ascii"))
        except (ValueError, binascii.Error):
            key = b""
        if len(key) != KEY_BYTES:
            raise ConfigError("wire_key is not a key of 32 bytes: enrol the node again")
        return cls(key)

    def close(self, topic: str, body: bytes) -> bytes:
        """``body`` with its tag in front, to be published on ``topic``."""
        return self._tag(topic, body) + body

    def open(self, topic: str, payload: bytes) -> bytes:
        """The body of what arrived on ``topic``. Raises `SealError` for what this node's key did not seal."""
        body = payload[TAG_BYTES:]
        if not hmac.compare_digest(self._tag(topic, body), payload[:TAG_BYTES]):
            raise SealError(f"a message on {topic} does not come from whom it should")
        return body

    def _tag(self, topic: str, body: bytes) -> bytes:
        return hmac.digest(self._key, b"%b\0%b" % (topic.encode(), body), "sha256")


def key_text(key: bytes) -> str:
    """A key as an enrolment carries it."""
    return urlsafe_b64encode(key).decode("ascii")


def name_of(payload: bytes) -> str:
    """By what both sides know a payload: its tag, in hex."""
    return payload[:TAG_BYTES].hex()
