"""Small messages beside the events: the cloud's acks and hints, a node's status."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, TypeVar

import msgspec

from common.errors import MessageError
from common.json_bounds import MALFORMED

T = TypeVar("T")


class Ack(msgspec.Struct, frozen=True, omit_defaults=True):
    """The cloud's answer: all of ``epoch`` up to ``high_water_mark`` is committed.

    ``limited`` names a batch (`common.sealing.name_of`) that was dropped unread because the node exceeds its
    rate: resend it after ``retry_after_s``.
    """

    epoch: str
    high_water_mark: int
    refused_digest: str = ""
    refused_reason: str = ""
    session: str = ""
    turn: int = 0
    forked: bool = False
    """Another device continued this epoch: continue in a new one with the events above the mark."""
    shared: bool = False
    """Another device is connected under this node's identity."""
    limited: str = ""
    retry_after_s: float = 0.0


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """Retained on the status topic; ``offline`` is the last will."""

    state: str
    app: str
    version: str = ""
    sent_ns: int = 0
    session: Annotated[str, msgspec.Meta(max_length=64)] = ""


class SettingsChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """A change of the app's settings on one node; the highest version wins.

    ``settings`` is a JSON Merge Patch (RFC 7396) on the settings of the node's file and of the deployment.
    """

    version: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    settings: dict[str, Any] = {}


class Hint(msgspec.Struct, frozen=True, omit_defaults=True):
    """Requests an action of a node. A node ignores an ``action`` that it does not know.

    ``deployment``: check for another model; ``golden``: run the golden cases of the live model on this
    device; ``revert``: from ``version`` back to the previous model; ``settings``: change the app's settings
    by ``change``. None of them names a model to run: an attacker in control of the broker can only choose
    among models that the node has verified itself.
    """

    action: str
    version: str = ""
    """Model that a ``revert`` is for: a node that runs another one ignores it. Empty for any."""
    session: str = ""
    """Session of the addressed node; it ignores a hint to another session."""
    number: int = 0
    """Increases with each hint, so that none counts twice."""
    change: SettingsChange | None = None


def encode(message: Ack | Status | Hint) -> bytes:
    """A small control message as JSON."""
    return msgspec.json.encode(message)


def decode(payload: bytes, kind: type[T]) -> T:
    """A small control message (`Ack`, `Status`, `Hint`). Raises `MessageError`."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except MALFORMED as error:
        raise MessageError(f"not a valid {kind.__name__}: {error}") from error


def digest(payload: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(payload).hexdigest()
