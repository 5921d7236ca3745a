"""Interface of a broker.

Nothing in edgeloop depends on the state of a broker: no session is persistent, and lost messages are sent
again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from common.messages import BATCH_LIMIT_BYTES

PACKET_LIMIT_BYTES = BATCH_LIMIT_BYTES + 44 * 1024
"""Largest MQTT packet: a batch, its topic, and room to spare (300 KiB)."""

Users = Callable[[], Mapping[str, str]]
"""Gives every user of the broker with the hash of the password (`cloud_backend.access.tokens`)."""


class Broker(Protocol):
    """A broker that the cloud starts and stops, on ``host:port``."""

    kind: str
    host: str
    port: int

    @property
    def pid(self) -> int | None: ...

    def start(self) -> None:
        """Start it, or start it again after it died. Raises `BrokerError`.

        A child dies with the thread that called this.
        """
        ...

    def stop(self) -> None: ...

    def alive(self) -> bool: ...

    def add_node(self, site: str, node: str, password: str) -> None:
        """Let a newly enrolled node in; ``password`` as it was given to the node."""
        ...

    def remove_node(self, site: str, node: str) -> None:
        """Keep a node out from now on, and end its connection."""
        ...

    def tidy(self) -> None:
        """Keep what it writes bounded; called now and then."""
        ...
