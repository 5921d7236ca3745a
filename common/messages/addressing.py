"""Names of sites and nodes, and the MQTT topics of a node."""

from __future__ import annotations

import re
from typing import NamedTuple

from common.errors import MessageError

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
TOPIC_ROOT = "edgeloop/v1"
UP_TOPICS = f"{TOPIC_ROOT}/+/+/up"
STATUS_TOPICS = f"{TOPIC_ROOT}/+/+/status"


class Topics(NamedTuple):
    """The four topics of one node."""

    up: str
    ack: str
    hint: str
    status: str


def topics(site: str, node: str) -> Topics:
    """Topics of one node. Raises `MessageError` for a name that could escape its own topic."""
    for name in (site, node):
        if not NAME_PATTERN.fullmatch(name):
            raise MessageError(
                f"{name!r} cannot name a site or node: use a-z, 0-9, '.', '_' and '-', "
                "starting with a letter or digit, at most 63 characters"
            )
    root = f"{TOPIC_ROOT}/{site}/{node}"
    return Topics(f"{root}/up", f"{root}/ack", f"{root}/hint", f"{root}/status")


def node_of_topic(topic: str) -> tuple[str, str]:
    """``(site, node)`` of one of `topics`. Raises `MessageError` for any other topic."""
    parts = topic.split("/")
    if len(parts) != 5 or "/".join(parts[:2]) != TOPIC_ROOT:
        raise MessageError(f"{topic!r} is not a topic of a node")
    topics(parts[2], parts[3])
    return parts[2], parts[3]
