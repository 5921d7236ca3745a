"""Authenticity of messages: only what a node sealed with the key of its present enrolment is opened."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import structlog
from paho.mqtt.client import MQTTMessage
from sqlalchemy.exc import SQLAlchemyError

from cloud_backend.access.wire_keys import WireKeys
from cloud_backend.ingest.node_problems import NodeProblems
from common.clock import Clock
from common.errors import SealError

_log = structlog.get_logger("edgeloop.ingest")


class Unsealer:
    """Opens messages; ``counts`` and ``problems`` record the others."""

    def __init__(self, keys: WireKeys, problems: NodeProblems, counts: Counter[str], clock: Clock) -> None:
        self._keys = keys
        self._problems = problems
        self._counts = counts
        self._clock = clock

    def open(self, site: str, node: str, message: MQTTMessage) -> bytes | None:
        """The body of a message that the node itself has sealed; None for any other, which is counted."""
        try:
            for again in (False, True):
                seal = self._keys.seal(site, node, again=again)
                if seal is None:
                    self._counts["not_enrolled"] += 1
                    return None
                with suppress(SealError):
                    return seal.open(message.topic, bytes(message.payload))
        except SQLAlchemyError as error:
            self._counts["batches_dropped"] += 1
            _log.warning("the enrolment of a node cannot be read", error=first_line(error))
            return None
        if message.retain:  # Of an earlier enrolment, most likely; nobody sent it now.
            self._counts["old_statuses"] += 1
            return None
        self._counts["messages_rejected"] += 1
        self._problems.add(
            node, "rejected", "a message in this node's name was not sealed with its key", self._clock()
        )
        return None


def first_line(error: BaseException) -> str:
    """The first line of a database error's message, without the statement."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]
